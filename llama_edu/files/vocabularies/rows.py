"""Rows of an embedding beyond the pieces of its vocabulary: what they are called, if anything.

Tables are padded to a round number of rows, and fine-tuned models have tokens of their own that
their tokenizer.model does not know. Hugging Face folders name the latter in JSON files beside it.
Source: added_tokens.json and `added_tokens_decoder` as read by convert_hf_to_gguf.py of llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.files.strict_json import read_object
from llama_edu.vocabulary import CONTROL, UNUSED, USER_DEFINED, Vocabulary

#: Under the pieces that merge: a named row is found in a text, never made by merging.
_SCORE = -1000.0


@dataclass(frozen=True)
class AddedPiece:
    """A token that JSON files name; a control token has no text of its own."""

    text: str
    is_control: bool

    @property
    def kind(self) -> int:
        """CONTROL or USER_DEFINED."""
        return CONTROL if self.is_control else USER_DEFINED


def added_pieces(folder: Path) -> dict[int, AddedPiece]:
    """Id -> the token that added_tokens.json or tokenizer_config.json of a folder gives it.

    Entries that are no pair of a text and an id are passed over. Raises FormatError for a file that
    is no JSON.
    """
    config = json_beside(folder, "tokenizer_config.json")
    named = _texts(json_beside(folder, "special_tokens_map.json")) | _texts(config)
    found = {
        token: AddedPiece(text, text in named)
        for text, token in json_beside(folder, "added_tokens.json").items()
        if type(token) is int
    }
    listed = config.get("added_tokens_decoder")
    for key, entry in listed.items() if isinstance(listed, dict) else ():
        text = entry.get("content") if isinstance(entry, dict) else None
        if isinstance(text, str) and key.isdecimal():
            found[int(key[:12])] = AddedPiece(text, entry.get("special") is True)
    return found


def json_beside(folder: Path, name: str) -> dict[str, object]:
    """The object in a JSON file of a folder; empty where there is no such file."""
    path = folder / name
    return read_object(path) if path.is_file() else {}


def text_of(entry: object) -> str | None:
    """The text of a token as JSON files write it: as it is, or as `content` of an object."""
    text = entry.get("content") if isinstance(entry, dict) else entry
    return text if isinstance(text, str) else None


def _texts(values: Mapping[str, object]) -> set[str]:
    """The texts of all special tokens that a JSON file names."""
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    more = values.get("additional_special_tokens")
    entries = [values.get(name) for name in names] + (more if isinstance(more, list) else [])
    return {text for entry in entries if (text := text_of(entry)) is not None}


def with_rows(
    vocabulary: Vocabulary,
    n_rows: int,
    where: object,
    names: Mapping[int, AddedPiece] | None = None,
) -> Vocabulary:
    """The vocabulary with one piece for every row of the embedding.

    Args:
        n_rows: rows of the embedding.
        where: begins the error.
        names: what rows beyond the pieces are called; the rest become UNUSED pieces without text.
    Raises:
        RequestError: it has more pieces than the model has rows.
    """
    n_pieces = len(vocabulary)
    if n_pieces > n_rows:
        raise RequestError(
            f"{where}: has {n_pieces} pieces, the model has {n_rows}; this is another model's "
            f"tokenizer"
        )
    if n_pieces == n_rows:
        return vocabulary
    kinds = np.full(n_rows, UNUSED, np.uint8)
    scores = np.full(n_rows, _SCORE, np.float32)
    kinds[:n_pieces], scores[:n_pieces] = vocabulary.kinds, vocabulary.scores
    pieces = [*vocabulary.pieces, *[b""] * (n_rows - n_pieces)]
    for token, name in (names or {}).items():
        if n_pieces <= token < n_rows:
            kinds[token] = name.kind
            if vocabulary.model == "bpe" or not name.is_control:
                pieces[token] = name.text.encode("utf-8", "replace")
    return replace(vocabulary, pieces=pieces, scores=scores, kinds=kinds)
