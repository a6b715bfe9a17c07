"""tokenizer.model of Meta's Llama 3 folders: tiktoken's text file, a piece in base64 and its rank.

The file holds neither the 256 special tokens, whose names stand in Meta's code, nor a list of
merges: two neighbors are merged if together they are a piece, the lowest rank first.
Source: tokenizer.py of meta-llama/llama3 and of meta-llama/llama-models; openai/tiktoken.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from pathlib import Path

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.mapped import open_weights
from llama_edu.files.vocabularies.byte_level import to_text
from llama_edu.files.vocabularies.end_pieces import ends_by_name
from llama_edu.files.vocabularies.rows import json_beside
from llama_edu.vocabulary import CONTROL, NORMAL, Vocabulary

#: Of a file that is read at all; Llama 3's has 128,000 pieces in 2.2 MB, the longest of 128 bytes.
_LARGEST_BYTES, _MOST_PIECES, _LONGEST_PIECE = 32 * 2**20, 2**19, 256

_FIRST_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?(\n|$)")

N_SPECIALS = 256

#: Names of the first special tokens; "" is the next reserved one. All later ones are reserved.
_LLAMA_3 = (
    "<|begin_of_text|>", "<|end_of_text|>", "", "", "", "", "<|start_header_id|>",
    "<|end_header_id|>", "", "<|eot_id|>",
)  # fmt: skip
_LLAMA_3_1 = (
    "<|begin_of_text|>", "<|end_of_text|>", "", "", "<|finetune_right_pad_id|>", "<|step_id|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>",
    "<|image|>",
)  # fmt: skip


def special_names(scales_rope: bool) -> list[str]:
    """Meta's names of the 256 special tokens.

    Args:
        scales_rope: whether the model is of Llama 3.1 or later, which named more of them.
    """
    names = list(_LLAMA_3_1 if scales_rope else _LLAMA_3)
    names += [""] * (N_SPECIALS - len(names))
    numbers = itertools.count()
    return [name or f"<|reserved_special_token_{next(numbers)}|>" for name in names]


def looks_like_tiktoken(head: bytes) -> bool:
    """Whether a file's first bytes are a line of base64, a space and a whole number."""
    return _FIRST_LINE.match(head) is not None


def read_tiktoken(path: Path, n_rows: int | None = None) -> Vocabulary:
    """The pieces of the file, then the special tokens; the merges that follow from the ranks.

    Args:
        n_rows: rows of the model's embedding. A model with fewer than 256 rows beyond the pieces
            has that many special tokens.
    Raises:
        FormatError: a line is no piece and rank, or the ranks are not 0, 1, 2 ... in any order.
    """
    by_rank = _pieces_by_rank(path)
    specials = special_names(bool(json_beside(path.parent, "params.json").get("use_scaled_rope")))
    if n_rows is not None and len(by_rank) <= n_rows:
        specials = specials[: n_rows - len(by_rank)]
    pieces = by_rank + [name.encode() for name in specials]
    kinds = np.full(len(pieces), NORMAL, np.uint8)
    kinds[len(by_rank) :] = CONTROL
    begin = len(by_rank)
    return Vocabulary(
        pieces=pieces,
        scores=np.zeros(len(pieces), np.float32),
        kinds=kinds,
        model="bpe",
        unk_id=-1,
        bos_id=begin if len(specials) > 0 else -1,
        eos_id=begin + 1 if len(specials) > 1 else -1,
        other_end_ids=ends_by_name((begin + i, name.encode()) for i, name in enumerate(specials)),
        add_bos=len(specials) > 0,
        add_space_prefix=False,
        merges=merges_of(by_rank),
        pre_tokenizer="llama-bpe",
    )


def merges_of(by_rank: list[bytes]) -> list[str]:
    """Every way to make a piece of two others, in byte-level spelling, the lowest rank first.

    Within a piece the parts of lowest rank come first, as transformers' TikTokenConverter has them.
    """
    ranks = {piece: rank for rank, piece in enumerate(by_rank)}
    texts = [to_text(piece) for piece in by_rank]
    merges = []
    for piece in by_rank:
        parts = []
        for cut in range(1, len(piece)):
            left, right = ranks.get(piece[:cut]), ranks.get(piece[cut:])
            if left is not None and right is not None:
                parts.append((left, right))
        merges += [f"{texts[left]} {texts[right]}" for left, right in sorted(parts)]
    return merges


def _pieces_by_rank(path: Path) -> list[bytes]:
    with open_weights(path) as file:
        if path.stat().st_size > _LARGEST_BYTES:
            raise FormatError(
                f"{path}: has more than {_LARGEST_BYTES:,} bytes, expected Llama 3's vocabulary of "
                f"2 MB; the file is damaged"
            )
        lines = file.read().split(b"\n")
    by_rank: dict[int, bytes] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        text, _, rank = line.strip().partition(b" ")
        try:
            piece = base64.b64decode(text, validate=True)
        except binascii.Error:
            piece = b""
        is_rank = rank.isdigit() and len(rank) < 10 and int(rank) < _MOST_PIECES
        is_rank = is_rank and int(rank) not in by_rank
        if not 0 < len(piece) <= _LONGEST_PIECE or not is_rank:
            raise FormatError(
                f"{path}: line {number} is {line[:40]!r}, expected a piece in base64, a space and "
                f"a rank of its own; the file is damaged"
            )
        by_rank[int(rank)] = piece
    pieces = [by_rank.get(rank) for rank in range(len(by_rank))]
    found = [piece for piece in pieces if piece is not None]
    if len(found) != len(pieces) or len(set(found)) != len(found):
        raise FormatError(
            f"{path}: a rank is missing or a piece occurs twice, expected {len(by_rank):,} "
            f"different pieces with the ranks 0 to {len(by_rank) - 1:,}; the file is damaged"
        )
    return found
