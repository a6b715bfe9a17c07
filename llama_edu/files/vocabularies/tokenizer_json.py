"""tokenizer.json, the file of Hugging Face's tokenizers library, as a Vocabulary.

LLaMAs use two kinds: byte-level BPE (Llama 3), and sentencepiece's BPE written as merges (Llama 2
and before), in which case the order of the merges provides the scores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.strict_json import read_object
from llama_edu.files.vocabularies.beside import (
    MAX_BRACKETS,
    MAX_BYTES,
    Surroundings,
    first_of_template,
    surroundings,
)
from llama_edu.files.vocabularies.byte_level import PRE_TOKENIZERS, to_bytes
from llama_edu.text import quoted
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

#: Ids that are described at all; those that no piece has take memory, too.
_MOST_IDS = 2**20

_BYTE_PIECE = re.compile(r"<0x([0-9A-F]{2})>")


def read_tokenizer_json(path: Path) -> Vocabulary:
    """Read pieces, merges and kinds; the ids of BOS and EOS come from the JSON files next to it.

    Raises:
        FormatError: the file is damaged, is not BPE, or cuts or changes text in an unknown way.
    """
    values = read_object(path, MAX_BYTES, MAX_BRACKETS)
    model = values.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        kind = str(model.get("type"))[:40] if isinstance(model, dict) else "missing"
        raise FormatError(
            f"{path}: the model is {quoted(kind)}, expected BPE; it is of another family"
        )
    vocab, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise FormatError(f"{path}: has no vocab and merges, expected both; the file is damaged")
    added = _added_tokens(values, path)
    texts = _texts_by_id(vocab, added, path)
    merge_texts = [_merge_text(merge, path) for merge in merges]
    bos_id, eos_id = _ends(values, path, texts)
    around = surroundings(path.parent, False, values)
    shared: dict[str, Any] = {
        "bos_id": bos_id,
        "eos_id": eos_id,
        "add_bos": around.add_bos and bos_id >= 0,
        "add_eos": around.add_eos and eos_id >= 0,
    }
    if model.get("byte_fallback"):
        return _sentencepiece(texts, added, merge_texts, around, shared)
    if values.get("normalizer") is not None:
        raise FormatError(
            f"{path}: has a normalizer, expected none; a byte-level LLaMA tokenizer does not "
            f"change its text"
        )
    kinds = np.full(len(texts), NORMAL, np.uint8)
    pieces = []
    for token, text in enumerate(texts):
        piece = None
        if text is None:
            text, kinds[token] = "", UNUSED
        elif token in added:
            kinds[token] = CONTROL if added[token][1] else USER_DEFINED
        else:
            piece = to_bytes(text)
        pieces.append(text.encode("utf-8", "replace") if piece is None else piece)
    return Vocabulary(
        pieces=pieces,
        scores=np.zeros(len(texts), np.float32),
        kinds=kinds,
        model="bpe",
        unk_id=-1,
        add_space_prefix=False,
        merges=merge_texts,
        pre_tokenizer=_pre_tokenizer_name(values, path),
        **shared,
    )


def _sentencepiece(
    texts: list[str | None],
    added: Mapping[int, tuple[str, bool]],
    merges: list[str],
    around: Surroundings,
    shared: dict[str, Any],
) -> Vocabulary:
    """A sentencepiece vocabulary: the earlier a merge is listed, the higher its piece's score."""
    rank: dict[str, int] = {}
    for i, merge in enumerate(merges):
        rank.setdefault(merge.replace(" ", "", 1), i)
    unk_id = texts.index("<unk>") if "<unk>" in texts else -1
    kinds = np.full(len(texts), NORMAL, np.uint8)
    scores = np.zeros(len(texts), np.float32)
    pieces = []
    names: dict[int, bytes] = {}
    for token, text in enumerate(texts):
        if text is None:
            kinds[token], scores[token] = UNUSED, -1.0 - len(merges)
            pieces.append(b"")
            continue
        byte = _BYTE_PIECE.fullmatch(text)
        scores[token] = -1.0 - rank.get(text, len(merges)) if token not in added else 0.0
        if token == unk_id:
            kinds[token], piece = UNKNOWN, UNKNOWN_TEXT
        elif byte:
            kinds[token], piece, scores[token] = BYTE, bytes([int(byte[1], 16)]), 0.0
        elif token in added and added[token][1]:
            kinds[token], piece = CONTROL, b""
        else:
            kinds[token] = USER_DEFINED if token in added else NORMAL
            piece = text.replace(SPACE_MARK, " ").encode("utf-8", "replace")
        if kinds[token] in (UNKNOWN, CONTROL):
            names[token] = text.encode("utf-8", "replace")
        pieces.append(piece)
    return Vocabulary(
        pieces=pieces, scores=scores, kinds=kinds, unk_id=unk_id, names=names,
        add_space_prefix=around.adds_prefix, doubles_space=around.doubles_space,
        prefixes_every_part=around.prefixes_every_part, cuts_at_user_defined=True, **shared,
    )  # fmt: skip


def _added_tokens(values: Mapping[str, object], path: Path) -> dict[int, tuple[str, bool]]:
    """Id -> (text, whether it is a control token)."""
    added = {}
    listed = values.get("added_tokens") or []
    for entry in listed if isinstance(listed, list) else [listed]:
        if not (
            isinstance(entry, dict)
            and type(entry.get("id")) is int
            and isinstance(entry.get("content"), str)
        ):
            raise FormatError(f"{path}: an added token has no id and content; the file is damaged")
        added[entry["id"]] = (entry["content"], entry.get("special") is True)
    return added


def _texts_by_id(
    vocab: Mapping[str, object], added: Mapping[int, tuple[str, bool]], path: Path
) -> list[str | None]:
    """The text of every id up to the largest; None for those that no piece has."""
    by_id: dict[int, str] = {}
    for text, token in vocab.items():
        if type(token) is not int:
            raise FormatError(
                f"{path}: the id of a piece is {quoted(str(token), 40)}, expected a whole number; "
                f"the file is damaged"
            )
        by_id[token] = text
    by_id |= {token: text for token, (text, _) in added.items()}
    n_ids = max(by_id, default=-1) + 1
    if min(by_id, default=0) < 0 or n_ids > _MOST_IDS:
        raise FormatError(
            f"{path}: has {len(by_id):,} pieces with ids from {min(by_id):,} to {n_ids - 1:,}, "
            f"expected 0 to {_MOST_IDS - 1:,} at most; the file is damaged"
        )
    return [by_id.get(token) for token in range(n_ids)]


def _merge_text(merge: object, path: Path) -> str:
    """A merge as GGUF writes it; in newer files it is a list of two pieces instead."""
    if isinstance(merge, list) and len(merge) == 2:
        merge = f"{merge[0]} {merge[1]}"
    if not isinstance(merge, str):
        raise FormatError(f"{path}: a merge is {quoted(str(merge), 40)}, expected two pieces")
    return merge


def _pre_tokenizer_name(values: Mapping[str, object], path: Path) -> str:
    """GGUF's name for the way this file cuts text."""
    found = _patterns(values.get("pre_tokenizer"))
    for name, patterns in PRE_TOKENIZERS.items():
        if found == patterns:
            return name
    shown = " ".join(found)[:80]
    raise FormatError(
        f"{path}: cuts text by {quoted(shown)}, expected the pattern of one of "
        f"{', '.join(PRE_TOKENIZERS)}; text would be cut wrongly, so it is not encoded"
    )


def _patterns(step: object) -> tuple[str, ...]:
    """The patterns of a pre-tokenizer, flattened; the type's name for an unknown step."""
    if not isinstance(step, dict):
        return (str(step)[:40],)
    kind = step.get("type")
    if kind == "Sequence" and isinstance(step.get("pretokenizers"), list):
        return tuple(p for inner in step["pretokenizers"] for p in _patterns(inner))
    if kind == "ByteLevel":
        if step.get("add_prefix_space"):
            return ("ByteLevel with a space in front",)
        return PRE_TOKENIZERS["gpt-2"] if step.get("use_regex", True) else ()
    if kind == "Digits" and step.get("individual_digits") is True:
        return (r"\p{N}",)
    pattern = step.get("pattern")
    if kind == "Split" and step.get("behavior") == "Isolated" and isinstance(pattern, dict):
        return (str(pattern.get("Regex"))[:1000],)
    return (str(kind)[:40],)


def _ends(values: Mapping[str, object], path: Path, texts: list[str | None]) -> tuple[int, int]:
    """The ids of BOS and EOS; -1 if not stated. BOS is what the template puts before a text."""
    ids = []
    for name in ("bos_token", "eos_token"):
        text = _stated(path.parent / "tokenizer_config.json", name)
        text = text.get("content") if isinstance(text, dict) else text
        if name == "bos_token":
            text = first_of_template(values.get("post_processor")) or text
        value: object = texts.index(text) if isinstance(text, str) and text in texts else None
        if value is None:
            value = _stated(path.parent / "config.json", f"{name}_id")
        if isinstance(value, list) and value:  # several end tokens: the first is the model's own
            value = value[0]
        ids.append(value if type(value) is int and 0 <= value < len(texts) else -1)
    return ids[0], ids[1]


def _stated(path: Path, key: str) -> object:
    """The value of a key in a JSON file; None if the file or the key is missing."""
    return read_object(path).get(key) if path.is_file() else None
