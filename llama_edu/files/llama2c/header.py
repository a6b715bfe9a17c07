"""The header of a llama2.c file: seven sizes, and the file size that they imply.

Version 0 has no magic. It is recognized by arithmetic: the sizes in its header must imply exactly
the size of the file. Versions 1 and 2 have a magic and a header of 256 bytes.
Source: `export.py` of karpathy/llama2.c.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError, ShapeError
from llama_edu.files.cursor import Cursor
from llama_edu.files.magic_numbers import LLAMA2C

_SIZES = struct.Struct("<7i")
SIZE_NAMES = (
    "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len",
)  # fmt: skip

#: Bytes of a header with a magic; unused ones are zero.
PADDED_BYTES = 256

#: llama2.c trains and runs with this and stores it nowhere.
_NORM_EPS = 1e-5


@dataclass(frozen=True)
class Header:
    """What a file contains before its weights.

    Attributes:
        version: 0, 1 or 2.
        config: the sizes.
        tied_output: whether the output matrix is the token embedding, and not stored again.
        group_size: numbers that share a scale in version 2; 0 in the others.
    """

    version: int
    config: ModelConfig
    tied_output: bool
    group_size: int = 0

    @property
    def n_bytes(self) -> int:
        """Bytes of the header, after which the weights begin."""
        return _SIZES.size if self.version == 0 else PADDED_BYTES

    @property
    def table_bytes(self) -> int:
        """Bytes of the rotation tables between the weights, which only version 0 has."""
        config = self.config
        return 2 * 4 * config.max_seq_len * (config.head_dim // 2) if self.version == 0 else 0

    @property
    def file_bytes(self) -> int:
        """Bytes that a file with these sizes has."""
        n_in_norms = self.config.dim * (2 * self.config.n_layers + 1)
        n_in_matrices = self._n_in_matrices()
        if self.group_size:
            matrix_bytes = n_in_matrices + 4 * n_in_matrices // self.group_size
        else:
            matrix_bytes = 4 * n_in_matrices
        return self.n_bytes + 4 * n_in_norms + matrix_bytes + self.table_bytes

    def _n_in_matrices(self) -> int:
        config = self.config  # a formula, no loop: a hostile file may state two billion layers
        in_layer = config.dim * (2 * config.q_dim + 2 * config.kv_dim + 3 * config.hidden_dim)
        n_vocabulary_matrices = 1 if self.tied_output else 2
        outside = config.dim * config.vocab_size * n_vocabulary_matrices
        return config.n_layers * in_layer + outside


def looks_like_llama2c(head: bytes, file_bytes: int) -> bool:
    """Whether the first bytes are a version 0 header that implies exactly this file size."""
    try:
        return _version_0(head).file_bytes == file_bytes
    except (struct.error, ShapeError):
        return False


def read_header(head: bytes, where: object) -> Header:
    """The header at the start of a file.

    Args:
        head: the first PADDED_BYTES of the file, or all of a shorter one.
        where: the start of every error message.
    Raises:
        FormatError: an unknown version, or sizes that contradict each other.
    """
    if head.startswith(LLAMA2C):
        return read_fields(Cursor(head, where))
    if len(head) < _SIZES.size:
        raise FormatError(
            f"{where}: has {len(head)} bytes, expected a header of {_SIZES.size}; it is truncated"
        )
    try:
        return _version_0(head)
    except ShapeError as error:
        raise FormatError(f"{where}: {error}; it is not a llama2.c file") from None


def _version_0(head: bytes) -> Header:
    """The header of a version 0 file; a negative vocab_size means that the output is not tied."""
    values: dict[str, Any] = dict(zip(SIZE_NAMES, _SIZES.unpack_from(head), strict=True))
    tied = values["vocab_size"] > 0
    values["vocab_size"] = abs(values["vocab_size"])
    return Header(0, ModelConfig(**values, norm_eps=_NORM_EPS), tied)


def read_fields(cursor: Cursor) -> Header:
    """The header of a file with a magic, number by number."""
    cursor.take(4, "magic")
    version = cursor.i32("version")
    if version not in (1, 2):
        raise FormatError(
            f"{cursor.where}: llama2.c version {version}, expected 0, 1 or 2; the file is damaged, "
            f"or newer than this program"
        )
    values: dict[str, Any] = {name: cursor.i32(name) for name in SIZE_NAMES}
    tied = cursor.integer("u8", "shared classifier") != 0
    try:
        config = ModelConfig(**values, norm_eps=_NORM_EPS)
    except ShapeError as error:
        raise FormatError(f"{cursor.where}: {error}; the header is damaged") from None
    group_size = 0
    if version == 2:
        group_size = cursor.count("group size", least=1, at_most=config.dim)
        if config.dim % group_size:
            raise FormatError(
                f"{cursor.where}: group size {group_size} does not divide dim {config.dim}, "
                f"expected groups that fill every matrix; the header is damaged"
            )
    return Header(version, config, tied, group_size)
