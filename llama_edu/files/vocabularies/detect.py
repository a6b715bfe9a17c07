"""Vocabulary files: which kind a file is, and its pieces and scores.

Most weight files contain their own vocabulary, so the larger readers are imported when needed.
"""

from __future__ import annotations

from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files.mapped import open_weights
from llama_edu.files.vocabularies.rows import added_pieces, with_rows
from llama_edu.files.vocabularies.sentencepiece import read_sentencepiece
from llama_edu.vocabulary import Vocabulary


def is_sentencepiece(path: Path) -> bool:
    """Whether a file starts as a sentencepiece model: a protobuf field 1 with its pieces.

    A tokenizer.bin whose longest piece has 10 bytes starts with the same byte.
    """
    from llama_edu.files.vocabularies.tokenizer_bin import looks_like_tokenizer_bin

    head = _head(path)
    return head[:1] == b"\x0a" and not looks_like_tokenizer_bin(head, path.stat().st_size)


def _head(path: Path) -> bytes:
    with open_weights(path) as file:
        return file.read(64)


def read_vocabulary(path: Path, n_rows: int | None = None) -> Vocabulary:
    """The vocabulary in a tokenizer.model, a tokenizer.json or a llama2.c tokenizer.bin.

    Args:
        n_rows: rows of the model's embedding; rows beyond the pieces get the names that JSON files
            beside a tokenizer.model give them, or become UNUSED pieces without text.
    Raises:
        FormatError: the file is none of these, or is damaged; or it is a tokenizer.bin, which does
            not state its size, and has another number of pieces than the model has rows.
        RequestError: it has more pieces than the model has rows.
    """
    vocabulary = _read(path, n_rows)
    if n_rows is None:
        return vocabulary
    return with_rows(vocabulary, n_rows, path, added_pieces(path.parent))


def _read(path: Path, n_rows: int | None) -> Vocabulary:
    from llama_edu.files.vocabularies.tiktoken import looks_like_tiktoken, read_tiktoken
    from llama_edu.files.vocabularies.tokenizer_bin import (
        looks_like_tokenizer_bin,
        read_tokenizer_bin,
    )

    if is_sentencepiece(path):
        return read_sentencepiece(path)
    head = _head(path)
    if looks_like_tokenizer_bin(head, path.stat().st_size):
        return read_tokenizer_bin(path, n_rows)
    if looks_like_tiktoken(head):
        return read_tiktoken(path, n_rows)
    if head.lstrip().startswith(b"{"):
        from llama_edu.files.vocabularies.tokenizer_json import read_tokenizer_json

        return read_tokenizer_json(path)
    raise FormatError(
        f"{path}: starts with {head[:8]!r}, expected a sentencepiece tokenizer.model, a "
        f"tokenizer.json, a llama2.c tokenizer.bin or Llama 3's tokenizer.model"
    )


def find_tokenizer(folder: Path) -> Path | None:
    """tokenizer.model in the folder or in its parent, where Meta put one file for all sizes."""
    for place in (folder, folder.resolve().parent):
        if (place / "tokenizer.model").is_file():
            return place / "tokenizer.model"
    return None
