"""llama2.c's tokenizer.bin: pieces and scores, in the order of their ids.

Source: `tokenizer.py` and `run.c` of karpathy/llama2.c.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.cursor import Cursor
from llama_edu.files.mapped import open_weights
from llama_edu.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, Vocabulary

_BYTE_PIECE = re.compile(rb"<0x([0-9A-F]{2})>")


#: The largest tokenizer.bin that is read: a piece takes far more memory than its 8 bytes on disk.
#: Llama 3 has 128,256 pieces in 2 MB.
_MOST_PIECES, _LARGEST_TOKENIZER_BYTES = 2**17, 32 * 2**20


def looks_like_tokenizer_bin(head: bytes, file_bytes: int) -> bool:
    """Whether the first bytes can start a tokenizer.bin: a small length, then "<unk>"."""
    return file_bytes > 17 and head[8:17] == b"\x05\0\0\0<unk>"


def read_tokenizer_bin(path: Path, vocab_size: int | None = None) -> Vocabulary:
    """The vocabulary of a tokenizer.bin.

    Args:
        vocab_size: the model's number of pieces, compared with the file's; None skips the check.
    Raises:
        FormatError: the file is truncated or too large, or its number of pieces is not the model's.
    """
    with open_weights(path) as file:
        if path.stat().st_size > _LARGEST_TOKENIZER_BYTES:
            raise FormatError(
                f"{path}: has more than {_LARGEST_TOKENIZER_BYTES:,} bytes, expected a vocabulary; "
                f"this is not a tokenizer.bin"
            )
        cursor = Cursor(file.read(), path)
    longest = cursor.u32("longest piece")
    pieces: list[bytes] = []
    scores: list[float] = []
    kinds: list[int] = []
    while not cursor.at_end:
        token = len(pieces)
        if token == _MOST_PIECES:
            raise FormatError(
                f"{path}: has more than {_MOST_PIECES:,} pieces; this is not a tokenizer.bin"
            )
        scores.append(cursor.f32(f"score of piece {token}"))
        length = cursor.count(
            f"length of piece {token}", least=0, at_most=min(longest, cursor.left)
        )
        text = cursor.take(length, f"piece {token}")
        byte = _BYTE_PIECE.fullmatch(text)
        if byte:
            kind, text = BYTE, bytes([int(byte[1], 16)])
        else:
            kind = {0: UNKNOWN, 1: CONTROL, 2: CONTROL}.get(token, NORMAL)
        pieces.append(text)
        kinds.append(kind)
    if vocab_size is not None and len(pieces) != vocab_size:
        raise FormatError(
            f"{path}: has {len(pieces)} pieces, the model has {vocab_size}; this is another "
            f"model's tokenizer"
        )
    return Vocabulary(
        tuple(pieces),
        np.array(scores, np.float32),
        np.array(kinds, np.uint8),
        names={t: pieces[t].strip(b"\n") for t in (1, 2) if t < len(pieces)},  # "\n<s>\n"
    )
