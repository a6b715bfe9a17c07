"""A vocabulary as the tokenizer file that transformers opens.

Pieces with scores become a tokenizer.model, which keeps scores, kinds and names; byte-level pieces
with merges become a tokenizer.json.
Source: sentencepiece_model.proto in google/sentencepiece; Llama 3's tokenizer.json.
"""

from __future__ import annotations

import json
import struct

from llama_edu.files.vocabularies.byte_level import PRE_TOKENIZERS, WHOLE_PIECES_FIRST
from llama_edu.files.vocabularies.protobuf import bytes_field, float_field, number_field
from llama_edu.vocabulary import CONTROL, SPACE_MARK, UNKNOWN, USER_DEFINED, Vocabulary

#: Fields of ModelProto, of its trainer_spec and of its normalizer_spec.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_MODEL_TYPE, _VOCAB_SIZE, _BYTE_FALLBACK = 3, 4, 35
_ID_FIELDS = {"unk_id": 40, "bos_id": 41, "eos_id": 42, "pad_id": 43}
_NAME, _CHARSMAP, _ADD_DUMMY_PREFIX, _REMOVE_EXTRA_WHITESPACES, _ESCAPE_WHITESPACES = 1, 2, 3, 4, 5
_BPE = 2

_SPACE_MARK = SPACE_MARK.encode()

#: Looked up where there is no such piece; left out, the library would look for its defaults.
_NO_PIECE = b"<none of this kind>"


def tokenizer_file(vocabulary: Vocabulary, spelled: list[bytes]) -> tuple[str, bytes] | None:
    """Name and bytes of the tokenizer file; None where no such file can state this vocabulary.

    Args:
        spelled: the pieces as sentencepiece and byte-level vocabularies spell them.
    """
    if len(set(spelled)) != len(spelled):
        return None
    if vocabulary.model == "bpe":
        made = _tokenizer_json(vocabulary, spelled)
        return ("tokenizer.json", made) if made is not None else None
    model = _sentencepiece_model(vocabulary, spelled)
    return ("tokenizer.model", model) if _is_accepted(model) else None


def _is_accepted(model: bytes) -> bool:
    """Whether the library takes the model: it wants UTF-8, one unknown piece and all 256 bytes."""
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor().LoadFromSerializedProto(model)
    except RuntimeError:
        return False


def _sentencepiece_model(vocabulary: Vocabulary, spelled: list[bytes]) -> bytes:
    out = b"".join(
        bytes_field(
            _PIECES,
            bytes_field(1, text.replace(b" ", _SPACE_MARK))
            + float_field(2, struct.pack("<f", score))
            + number_field(3, int(kind)),
        )
        for text, score, kind in zip(
            spelled, vocabulary.scores.tolist(), vocabulary.kinds.tolist(), strict=True
        )
    )
    ids = {"unk_id": vocabulary.unk_id, "bos_id": vocabulary.bos_id, "eos_id": vocabulary.eos_id}
    trainer = number_field(_MODEL_TYPE, _BPE) + number_field(_VOCAB_SIZE, len(spelled))
    trainer += number_field(_BYTE_FALLBACK, 1)
    for name, number in _ID_FIELDS.items():
        trainer += number_field(number, ids.get(name, -1))
    # what the library looks its unknown, first and last piece up by: fields 45, 46 and 47
    for number, token in zip((45, 46, 47), ids.values(), strict=True):
        trainer += bytes_field(number, spelled[token] if token >= 0 else _NO_PIECE)
    normalizer = (
        bytes_field(_NAME, b"identity")
        + (bytes_field(_CHARSMAP, vocabulary.charsmap) if vocabulary.charsmap else b"")
        + number_field(_ADD_DUMMY_PREFIX, int(vocabulary.add_space_prefix))
        + number_field(_REMOVE_EXTRA_WHITESPACES, int(vocabulary.removes_spaces))
        + number_field(_ESCAPE_WHITESPACES, 1)
    )
    return out + bytes_field(_TRAINER, trainer) + bytes_field(_NORMALIZER, normalizer)


def _tokenizer_json(vocabulary: Vocabulary, spelled: list[bytes]) -> bytes | None:
    name = vocabulary.pre_tokenizer
    if name not in PRE_TOKENIZERS:
        return None
    texts = [text.decode("utf-8", "replace") for text in spelled]
    if len(set(texts)) != len(texts):
        return None
    added = [
        {
            "id": token, "content": texts[token], "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": kind != USER_DEFINED,
        }
        for token, kind in enumerate(vocabulary.kinds.tolist())
        if kind in (CONTROL, USER_DEFINED, UNKNOWN)
    ]  # fmt: skip
    cuts: list[dict[str, object]] = [
        {
            "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
            "invert": False,
        }
        for pattern in PRE_TOKENIZERS[name]
    ]  # fmt: skip
    byte_level = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False
    }  # fmt: skip
    values = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*cuts, byte_level]},
        "post_processor": _template(vocabulary, texts) or byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": name in WHOLE_PIECES_FIRST,
            "vocab": {text: token for token, text in enumerate(texts)},
            "merges": list(vocabulary.merges),
        },
    }  # fmt: skip
    return json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")


def _template(vocabulary: Vocabulary, texts: list[str]) -> dict[str, object] | None:
    """The step that puts BOS before a text and EOS after it, where the vocabulary wants one."""
    before = [vocabulary.bos_id] if vocabulary.add_bos and vocabulary.bos_id >= 0 else []
    after = [vocabulary.eos_id] if vocabulary.add_eos and vocabulary.eos_id >= 0 else []
    if not before and not after:
        return None

    def text(which: str, type_id: int) -> list[dict[str, object]]:
        def specials(tokens: list[int]) -> list[dict[str, object]]:
            return [{"SpecialToken": {"id": texts[t], "type_id": type_id}} for t in tokens]

        sequence: dict[str, object] = {"Sequence": {"id": which, "type_id": type_id}}
        return [*specials(before), sequence, *specials(after)]

    return {
        "type": "TemplateProcessing",
        "single": text("A", 0),
        "pair": [*text("A", 0), *text("B", 1)],
        "special_tokens": {
            texts[token]: {"id": texts[token], "ids": [token], "tokens": [texts[token]]}
            for token in (*before, *after)
        },
    }
