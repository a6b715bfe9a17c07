"""Vocabulary files: which kind a file is, and its pieces and scores.

Most weight files contain their own vocabulary, so the larger readers are imported when needed.
"""

from __future__ import annotations

from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files.mapped import open_weights
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


def read_vocabulary(path: Path, vocab_size: int | None = None) -> Vocabulary:
    """The vocabulary in a tokenizer.model, a tokenizer.json or a llama2.c tokenizer.bin.

    Raises:
        FormatError: none of these, damaged, or a tokenizer.bin without `vocab_size` pieces. The
            size of the other two is not checked here.
    """
    from llama_edu.files.vocabularies.tokenizer_bin import (
        looks_like_tokenizer_bin,
        read_tokenizer_bin,
    )

    if is_sentencepiece(path):
        return read_sentencepiece(path)
    head = _head(path)
    if looks_like_tokenizer_bin(head, path.stat().st_size):
        return read_tokenizer_bin(path, vocab_size)
    if head.lstrip().startswith(b"{"):
        from llama_edu.files.vocabularies.tokenizer_json import read_tokenizer_json

        return read_tokenizer_json(path)
    raise FormatError(
        f"{path}: starts with {head[:8]!r}, expected a sentencepiece tokenizer.model, a "
        f"tokenizer.json or a llama2.c tokenizer.bin"
    )


def find_tokenizer(folder: Path) -> Path | None:
    """tokenizer.model in the folder or in its parent, where Meta put one file for all sizes."""
    for place in (folder, folder.resolve().parent):
        if (place / "tokenizer.model").is_file():
            return place / "tokenizer.model"
    return None
