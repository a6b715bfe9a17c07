"""tokenizer.model, the sentencepiece library's file, as a Vocabulary."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.mapped import open_weights
from llama_edu.files.vocabularies.protobuf import fields_of
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

#: Fields of ModelProto and of a SentencePiece in it.
_PIECES, _TYPE = 1, 3


def open_sentencepiece(path: Path):
    """A SentencePieceProcessor for a tokenizer.model file; FormatError if it is not one."""
    from sentencepiece import SentencePieceProcessor  # loads a library: not at import

    with open_weights(path) as file:
        model = file.read()
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
        n_pieces = processor.vocab_size()
        processor.id_to_piece(list(range(n_pieces)))  # a damaged piece is no UTF-8
    except (RuntimeError, UnicodeDecodeError):
        n_pieces = 0
    if n_pieces == 0:
        raise FormatError(f"{path}: is not a sentencepiece model; give a tokenizer.model file")
    return processor


def sentencepiece_piece(processor, token: int) -> bytes:
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
    processor = open_sentencepiece(path)
    n = processor.vocab_size()
    kinds = np.full(n, NORMAL, np.uint8)
    for kind, is_kind in (
        (UNKNOWN, processor.is_unknown),
        (CONTROL, processor.is_control),
        (UNUSED, processor.is_unused),
        (BYTE, processor.is_byte),
    ):
        kinds[[token for token in range(n) if is_kind(token)]] = kind
    kinds[_user_defined(path)] = USER_DEFINED
    return Vocabulary(
        pieces=tuple(sentencepiece_piece(processor, token) for token in range(n)),
        scores=np.array([processor.get_score(token) for token in range(n)], np.float32),
        kinds=kinds,
        unk_id=processor.unk_id(),
        bos_id=processor.bos_id(),
        eos_id=processor.eos_id(),
        names={
            token: processor.id_to_piece(token).encode()
            for token in np.flatnonzero((kinds == CONTROL) | (kinds == UNKNOWN)).tolist()
        },
    )


def _user_defined(path: Path) -> list[int]:
    """The ids of pieces that are always kept whole, which the library does not tell."""
    with open_weights(path) as file:
        model = file.read()
    pieces = [value for number, value in fields_of(model) if number == _PIECES]
    return [
        token
        for token, piece in enumerate(pieces)
        if isinstance(piece, bytes) and dict(fields_of(piece)).get(_TYPE) == USER_DEFINED
    ]
