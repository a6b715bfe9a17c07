"""tokenizer.model, the file of the sentencepiece library, as a Vocabulary.

The file is a protobuf message: pieces (field 1), how they were trained (field 2) and how a text is
changed before it is cut (field 3). The library reads it; settings that it does not tell are read
here. In a Hugging Face folder JSON files beside it have the last word on BOS and on the space in
front: see beside.py.
Source: sentencepiece_model.proto of google/sentencepiece.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.mapped import open_weights
from llama_edu.files.vocabularies.beside import Surroundings, surroundings_in
from llama_edu.files.vocabularies.protobuf import bytes_field, fields_of, number_field
from llama_edu.files.vocabularies.rows import AddedPiece, added_pieces, json_beside, text_of
from llama_edu.vocabulary import (
    BYTE,
    CONTROL,
    NORMAL,
    SPACE_MARK,
    UNKNOWN,
    UNKNOWN_TEXT,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
)

#: ModelProto: pieces, trainer_spec, normalizer_spec.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3

#: TrainerSpec.model_type.
_MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}

#: NormalizerSpec: precompiled_charsmap, add_dummy_prefix, remove_extra_whitespaces.
_CHARSMAP, _PREFIX, _REMOVE_SPACES = 2, 3, 4


@dataclass(frozen=True)
class SentencePieceModel:
    """A tokenizer.model file and what the JSON files beside it add.

    Attributes:
        data: the file's bytes. processor: the library's reader of them.
        added: what JSON files call the rows beyond the pieces.
        bos_id, eos_id: -1 where there is none.
        surroundings: what is put around a text.
    """

    path: Path
    data: bytes
    processor: Any
    added: Mapping[int, AddedPiece]
    bos_id: int
    eos_id: int
    surroundings: Surroundings

    def processor_with_prefix(self, adds_prefix: bool) -> Any:
        """A processor that puts a space before a text, or none, whatever the file says.

        protobuf merges a message that occurs twice, and the last value of a field counts.
        """
        changes = number_field(_PREFIX, int(adds_prefix))
        if not self.normalizes:
            changes += bytes_field(_CHARSMAP, b"") + number_field(_REMOVE_SPACES, 0)
        return _processor(self.data + bytes_field(_NORMALIZER, changes), self.path)

    @property
    def normalizes(self) -> bool:
        """Whether texts are changed as the file says; transformers' LlamaTokenizer does not."""
        return not self.surroundings.is_llama_class

    @property
    def add_bos(self) -> bool:
        """Whether a text begins with BOS."""
        return self.surroundings.add_bos and self.bos_id >= 0

    @cached_property
    def kinds(self) -> np.ndarray:
        """(n,) uint8, numbered as in GGUF, which took its numbers from this format."""
        processor = self.processor
        kinds = np.full(processor.vocab_size(), NORMAL, np.uint8)
        stated = [_integers(piece).get(3, NORMAL) for piece in _messages(self.data, _PIECES)]
        if len(stated) == len(kinds):
            kinds[[token for token, kind in enumerate(stated) if kind == USER_DEFINED]] = (
                USER_DEFINED
            )
        for kind, is_kind in (
            (UNKNOWN, processor.is_unknown),
            (CONTROL, processor.is_control),
            (UNUSED, processor.is_unused),
            (BYTE, processor.is_byte),
        ):
            kinds[[token for token in range(len(kinds)) if is_kind(token)]] = kind
        return kinds

    def charsmap(self) -> bytes:
        """The table of letters that are replaced before a text is cut; empty for none."""
        if not self.normalizes:
            return b""
        tables = [
            value
            for message in _messages(self.data, _NORMALIZER)
            for number, value in fields_of(message)
            if number == _CHARSMAP and isinstance(value, bytes)
        ]
        return tables[-1] if tables else b""

    def removes_spaces(self) -> bool:
        """Whether surplus spaces are taken away."""
        stated = _merged(_messages(self.data, _NORMALIZER)).get(_REMOVE_SPACES, 1)
        return self.normalizes and bool(stated)

    def unsaid(self) -> tuple[str, ...]:
        """Settings that change the ids of a text and that no weight file can state."""
        trainer = _merged(_messages(self.data, _TRAINER))
        normalizer = _merged(_messages(self.data, _NORMALIZER))
        found = []
        model_type = trainer.get(3, 1)
        if model_type != 2:
            name = _MODEL_TYPES.get(model_type, str(model_type))
            found.append(f"model_type {name}: weight files know merging by score only")
        if trainer.get(24, 0):
            found.append("treat_whitespace_as_suffix: weight files put spaces before words")
        if not normalizer.get(5, 1):
            found.append("escape_whitespaces is false: weight files write spaces as U+2581")
        return tuple(found)


def open_sentencepiece(path: Path) -> SentencePieceModel:
    """A tokenizer.model file with the settings beside it; a FormatError when it is none."""
    with open_weights(path) as file:
        data = file.read()
    processor = _processor(data, path)
    stated = json_beside(path.parent, "tokenizer_config.json")
    added = added_pieces(path.parent)
    ids = {}
    for name, own in (("bos_token", processor.bos_id()), ("eos_token", processor.eos_id())):
        ids[name] = _id_of(stated, name, own, processor, added)
    adds_prefix = bool(_merged(_messages(data, _NORMALIZER)).get(_PREFIX, 1))
    around = surroundings_in(path.parent, adds_prefix)
    if around is None:  # the file alone: what the library does, and BOS where there is one
        around = Surroundings(True, False, adds_prefix, True, True, is_llama_class=False)
    return SentencePieceModel(
        path=path,
        data=data,
        processor=processor,
        added={t: a for t, a in added.items() if t >= processor.vocab_size()},
        bos_id=ids["bos_token"],
        eos_id=ids["eos_token"],
        surroundings=around,
    )


def sentencepiece_piece(processor: Any, token: int) -> bytes:
    """The bytes that a token of a sentencepiece model adds to a text; empty for BOS and EOS."""
    if processor.is_control(token):
        return b""
    if processor.is_unknown(token):
        return UNKNOWN_TEXT
    text = processor.id_to_piece(token)
    if processor.is_byte(token):
        return bytes([int(text[3:5], 16)])
    return text.replace(SPACE_MARK, " ").encode()


def read_sentencepiece(path: Path) -> Vocabulary:
    """Pieces, scores and kinds of a tokenizer.model, for writing into a weight file."""
    model = open_sentencepiece(path)
    processor = model.processor
    n = processor.vocab_size()
    return Vocabulary(
        pieces=tuple(sentencepiece_piece(processor, token) for token in range(n)),
        scores=np.array([processor.get_score(token) for token in range(n)], np.float32),
        kinds=model.kinds,
        unk_id=processor.unk_id(),
        bos_id=model.bos_id,
        eos_id=model.eos_id,
        add_bos=model.add_bos,
        add_space_prefix=model.surroundings.adds_prefix,
        add_eos=model.surroundings.add_eos,
        doubles_space=model.surroundings.doubles_space,
        prefixes_every_part=model.surroundings.prefixes_every_part,
        cuts_at_user_defined=model.surroundings.is_llama_class,
        names={
            token: processor.id_to_piece(token).encode()
            for token in np.flatnonzero(
                (model.kinds == CONTROL) | (model.kinds == UNKNOWN)
            ).tolist()
        },
        charsmap=model.charsmap(),
        removes_spaces=model.removes_spaces(),
        unsaid=model.unsaid(),
    )


def _processor(data: bytes, path: Path) -> Any:
    from sentencepiece import SentencePieceProcessor  # loads a library: not at import

    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(data)
        n_pieces = processor.vocab_size()
        processor.id_to_piece(list(range(n_pieces)))  # a damaged piece is not UTF-8: a ValueError
        for _ in fields_of(data):
            pass
    except (RuntimeError, ValueError):
        n_pieces = 0
    if n_pieces == 0:
        raise FormatError(f"{path}: is not a sentencepiece model; give a tokenizer.model file")
    return processor


def _id_of(
    stated: Mapping[str, object],
    name: str,
    own: int,
    processor: Any,
    added: Mapping[int, AddedPiece],
) -> int:
    """The id of the token that tokenizer_config.json gives this part; the model's own if none."""
    if name not in stated:
        return own
    text = text_of(stated[name])
    if text is None:
        return -1
    by_text = {piece.text: token for token, piece in added.items()}
    token = by_text.get(text, processor.piece_to_id(text))
    known = text in by_text or processor.id_to_piece(token) == text
    return token if known else own


def _messages(data: bytes, number: int) -> Iterator[bytes]:
    """Every occurrence of a field that holds a message."""
    for found, value in fields_of(data):
        if found == number and isinstance(value, bytes):
            yield value


def _integers(message: bytes) -> dict[int, int]:
    """Number -> value of a message's whole numbers, and the length of everything else."""
    return {n: value if isinstance(value, int) else len(value) for n, value in fields_of(message)}


def _merged(messages: Iterator[bytes]) -> dict[int, int]:
    """Whole numbers of a message that may occur more than once; the last value counts."""
    return {n: value for message in messages for n, value in _integers(message).items()}
