"""Malformed files of llama2.c, and of its tokenizer."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache

import numpy as np

from helpers.hostile import Case, file_case, sparse_case
from helpers.small_models import (
    llama2c_v0,
    random_weights,
    small_config,
    small_vocabulary,
    tokenizer_bin,
)

#: The sizes of `valid`, in the order of the header.
SIZES = {"dim": 8, "hidden_dim": 10, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2,
         "vocab_size": 7, "max_seq_len": 50}  # fmt: skip


@cache
def valid() -> bytes:
    """A version 0 file with an output of its own."""
    config = small_config(**SIZES)
    return llama2c_v0(config, random_weights(config, np.random.default_rng(3)))


def header(magic: bytes = b"", version: int = 0, after: bytes = b"", **changes: int) -> bytes:
    """The first bytes of a file, 256 of them where there is a magic."""
    start = magic + (struct.pack("<i", version) if magic else b"")
    start += struct.pack("<7i", *(SIZES | changes).values()) + after
    return start + bytes(256 - len(start) if magic else 0)


def _with_magic(name: str, says: str, version: int, after: bytes = b"\0", **changes: int) -> Case:
    make = lambda: header(b"24ka", version, after, **changes) + bytes(999)  # noqa: E731
    return file_case(name, says, make, ".bin")


def _group(name: str, says: str, group_size: int) -> Case:
    return _with_magic(name, says, 2, b"\0" + struct.pack("<i", group_size))


#: Sizes of the narrowest model that passes every other check: 26 numbers a layer.
NARROW = {"dim": 2, "hidden_dim": 1, "n_heads": 1, "n_kv_heads": 1, "vocab_size": 1,
          "max_seq_len": 1}  # fmt: skip
MANY_LAYERS = 10**7

LLAMA2C_CASES = [
    file_case("27 bytes", "has 27 bytes, expected a header of 28", lambda: valid()[:27], ".bin"),
    file_case("header alone", r"header implies [\d,]+ bytes, file has 28", header, ".bin"),
    file_case("a byte missing", r"\(1 missing\); download it again", lambda: valid()[:-1], ".bin"),
    file_case("a byte too many", r"\(1 too many\); download", lambda: valid() + b"\0", ".bin"),
    file_case("magic alone", "version at byte 4 needs 4 bytes", lambda: b"24ka", ".bin"),
    _with_magic("version 3", "llama2.c version 3, expected 0, 1 or 2", 3),
    _with_magic("version -1", "llama2.c version -1, expected 0, 1 or 2", -1),
    _with_magic("2**31 - 1 heads", "is not a multiple of n_heads", 1, n_heads=2**31 - 1),
    _with_magic("-1 layers", "n_layers is -1, expected 1 to", 1, n_layers=-1),
    _with_magic("-7 pieces in version 1", "vocab_size is -7, expected 1 to", 1, vocab_size=-7),
    _with_magic("sizes whose product wraps", r"header implies [\d,]{20}", 1, dim=2**30,
                hidden_dim=2**30, n_layers=2**30),
    file_case("a header of 40 bytes", "group size at byte 37 needs 4 bytes, 3 are left",
              lambda: header(b"24ka", 2)[:40], ".bin"),
    _group("groups of 0", "group size at byte 37 is 0, expected 1 to 8", 0),
    _group("groups of -4", "group size at byte 37 is -4, expected 1 to 8", -4),
    _group("groups that do not divide", "group size 3 does not divide dim 8", 3),
    sparse_case(
        "1 GB of nothing as layers",
        "n_layers is 10,000,000, expected at most 1,024",
        header(n_layers=MANY_LAYERS, **NARROW),
        ".bin",
        28 + 4 * (26 * MANY_LAYERS + 2 * (1 + 1)) + 2 * 4,
    ),
    sparse_case(
        "1 GB of nothing as layers of version 1",
        "n_layers is 10,000,000, expected at most 1,024",
        header(b"24ka", 1, b"\1", n_layers=MANY_LAYERS, **NARROW),
        ".bin",
        256 + 4 * (26 * MANY_LAYERS + 2 * (1 + 1)),
    ),
]  # fmt: skip


def _tokenizer(name: str, says: str, make: Callable[[], bytes]) -> Case:
    return file_case(name, says, make, ".bin")


def pieces(count: int = 8) -> bytes:
    return tokenizer_bin(small_vocabulary())[:4] + struct.pack("<fi5s", 0, 5, b"<unk>") * count


TOKENIZER_CASES = [
    _tokenizer("cut in a score", "score of piece 8 at byte .* needs 4", lambda: pieces() + b"\0"),
    _tokenizer("cut in a length", "length of piece 8 at byte", lambda: pieces() + bytes(6)),
    _tokenizer("cut in a piece", "piece 8 at byte 116 needs 5 bytes, 3 are left",
               lambda: pieces() + struct.pack("<fi", 0, 5) + b"abc"),
    _tokenizer("length -1", "length of piece 8 at byte .* is -1",
               lambda: pieces() + struct.pack("<fi", 0, -1)),
    _tokenizer("length 2**31 - 1", "length of piece 8 at byte .* is 2,147,483,647",
               lambda: pieces() + struct.pack("<fi", 0, 2**31 - 1)),
    _tokenizer("longer than the longest", "length of piece 8 at byte .* is 9, expected 0 to 6",
               lambda: pieces() + struct.pack("<fi", 0, 9) + bytes(99)),
    sparse_case("10 GB of nothing", "has more than 33,554,432 bytes, expected a vocabulary",
                pieces(), ".bin"),
]  # fmt: skip
