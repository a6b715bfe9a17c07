"""The header of a ggml, ggmf or ggjt file, and the numbers of its tensor types."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from llama_edu.errors import FormatError
from llama_edu.files.cursor import Cursor
from llama_edu.files.layout import MOST_LAYERS
from llama_edu.files.magic_numbers import GGJT, GGMF, GGML

ALIGNMENT = 32


#: The largest number of pieces that is read; a header can state more than memory holds. LLaMA had
#: 32,000.
_MOST_PIECES = 2**17


#: Magic number as stored on disk -> (name, has a version field, aligned data).
MAGICS = {
    GGML: ("ggml", False, False),
    GGMF: ("ggmf", True, False),
    GGJT: ("ggjt", True, True),
}


_K_QUANTS = {10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k", 14: "q6_k"}


#: Version of ggjt -> number in a tensor record -> our type. ggml and ggmf use the types of
#: version 1.
TYPE_IDS: dict[int, dict[int, str]] = {
    1: {0: "f32", 1: "f16", 2: "q4_0_v1", 3: "q4_1_v1", 4: "q4_2", 5: "q4_3", 6: "q5_0_v1",
        7: "q5_1_v1", 8: "q8_0_v2"},
    2: {0: "f32", 1: "f16", 2: "q4_0_v2", 3: "q4_1_v2", 6: "q5_0", 7: "q5_1", 8: "q8_0_v2"},
    3: {0: "f32", 1: "f16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", **_K_QUANTS},
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """The magic and the numbers at the start of the file; ggml has no version, so it is 0."""

    magic: bytes
    version: int
    vocab_size: int
    dim: int
    multiple_of: int
    n_heads: int
    n_layers: int
    n_rot: int
    ftype: int

    @property
    def format(self) -> str:
        """Name and version, for example "ggjt v1"."""
        name, versioned, _ = MAGICS[self.magic]
        return f"{name} v{self.version}" if versioned else f"{name} (unversioned)"

    @property
    def aligned(self) -> bool:
        """Whether tensor data start at multiples of 32."""
        return MAGICS[self.magic][2]

    def pack(self) -> bytes:
        """The header as stored on disk."""
        versioned = MAGICS[self.magic][1]
        version = struct.pack("<I", self.version) if versioned else b""
        return self.magic + version + struct.pack(
            "<7i", self.vocab_size, self.dim, self.multiple_of, self.n_heads, self.n_layers,
            self.n_rot, self.ftype,
        )  # fmt: skip


def read_header(cursor: Cursor) -> Header:
    """Read and check the numbers at the start of a file."""
    magic = cursor.take(4, "magic")
    if magic not in MAGICS:
        raise FormatError(f"{cursor.where}: starts with {magic!r}, expected {list(MAGICS)}")
    name, versioned, _ = MAGICS[magic]
    version = cursor.u32("version") if versioned else 0
    known = {"ggml": (0,), "ggmf": (1,), "ggjt": (1, 2, 3)}[name]
    if version not in known:
        raise FormatError(
            f"{cursor.where}: {name} version {version:,}, expected {' or '.join(map(str, known))}"
        )
    # a token needs at least its length field; a layer needs at least one record
    most_pieces = min(_MOST_PIECES, cursor.left // 4)
    vocab_size = cursor.count("vocab_size", least=1, at_most=most_pieces)
    dim = cursor.count("dim", least=1, at_most=2**20)
    multiple_of = cursor.count("multiple_of", least=1, at_most=2**20)
    n_heads = cursor.count("n_heads", least=1, at_most=dim)
    most_layers = min(MOST_LAYERS, cursor.left // 12)
    n_layers = cursor.count("n_layers", least=1, at_most=most_layers)
    n_rot, ftype = cursor.i32("n_rot"), cursor.i32("ftype")
    return Header(magic, version, vocab_size, dim, multiple_of, n_heads, n_layers, n_rot, ftype)
