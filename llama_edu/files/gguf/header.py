"""One GGUF file's header: keys and values, and the table of tensors, without interpretation.

Nothing here depends on the model; `reader` turns this into a Checkpoint. `values` reads the value
of a key.
Source: docs/gguf.md in ggml-org/ggml; versions 1 and 2 as in PRs #2398 and #2821 of llama.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.cursor import ByteOrder, Bytes, Cursor, NumberKind
from llama_edu.files.gguf.string_array import Texts
from llama_edu.files.gguf.values import MAX_KEY_BYTES, MAX_METADATA_BYTES, Entry, ValueReader
from llama_edu.files.layout import n_bytes_for
from llama_edu.files.magic_numbers import GGUF
from llama_edu.quants.blocks import GGML_TYPE_IDS
from llama_edu.text import visible

DEFAULT_ALIGNMENT = 32

# Real files stay far below these limits; a header that exceeds them is damaged or hostile.
MAX_ENTRIES = 2**16
MAX_NAME_BYTES = 63  # GGML_MAX_NAME is 64 and counts the NUL
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 2**20


@dataclass(frozen=True)
class TensorInfo:
    """A row of the tensor table; `shape` is outermost first, `offset` counts from `data_offset`."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class GgufHeader:
    """What one file contains before its data.

    Attributes:
        order: "<" or ">", the byte order of every number in the file.
        entries: key -> Entry, in file order.
        infos: the tensor table, in file order.
        infos_offset: first byte of the table; `infos_end` the first after it.
        data_offset: where tensor data begins: infos_end rounded up to the alignment.
    """

    path: Path
    version: int
    order: ByteOrder
    n_bytes: int
    alignment: int
    entries: dict[str, Entry]
    infos: tuple[TensorInfo, ...]
    metadata_offset: int
    infos_offset: int
    infos_end: int
    data_offset: int

    def lacks(self, key: str, expected: str) -> FormatError:
        """The error for a key whose value is missing or has an unexpected type."""
        entry = self.entries.get(key)
        found = "is missing" if entry is None else f"is of type {entry.type}"
        return FormatError(
            f"{self.path}: key {key} {found}, expected {expected}; the file is incomplete or "
            f"damaged"
        )

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number of any width; `default` if the key is absent. Required if that is None."""
        entry = self.entries.get(key)
        if entry is None and default is not None:
            return default
        value = entry.value if entry else None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.lacks(key, "a whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number; `default` if the key is absent. Required if that is None.

        An f32 is returned as its shortest decimal, as other formats state it: 1e-05, not
        9.99999974e-06.
        """
        entry = self.entries.get(key)
        if entry is None and default is not None:
            return default
        value = entry.value if entry else None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.lacks(key, "a number")
        return float(str(np.float32(value))) if entry and entry.type == "f32" else float(value)

    def flag(self, key: str, default: bool) -> bool:
        """A bool; `default` if the key is absent."""
        entry = self.entries.get(key)
        if entry is None:
            return default
        if not isinstance(entry.value, bool):
            raise self.lacks(key, "a bool")
        return entry.value

    def text(self, key: str, default: str | None = None) -> str:
        """A string; `default` if the key is absent. Required if that is None."""
        entry = self.entries.get(key)
        if entry is None and default is not None:
            return default
        if entry is None or not isinstance(entry.value, str):
            raise self.lacks(key, "a string")
        return entry.value

    def strings(self, key: str) -> Texts | None:
        """An array of strings, or None if the key is absent."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        if not isinstance(entry.value, Texts):
            raise self.lacks(key, "an array of string")
        return entry.value

    def numbers(self, key: str, types: Sequence[str]) -> np.ndarray | None:
        """An array of numbers of one of these types, or None if the key is absent."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        if entry.type not in [f"array of {kind}" for kind in types]:
            raise self.lacks(key, f"an array of {' or '.join(types)}")
        assert isinstance(entry.value, np.ndarray)
        return entry.value


def read_header(data: Bytes, path: Path, cursor: Cursor | None = None) -> GgufHeader:
    """Read everything before the tensor data.

    Args:
        data: the file, mapped or read. Nothing that is returned points into it.
        path: the start of every error message.
        cursor: a cursor with a trace, for the hex view.
    Raises:
        FormatError: this is not a GGUF header, or it contradicts itself or the size of the file.
    """
    cursor = cursor or Cursor(data, path)
    version, n_tensors, n_entries = _read_counts(cursor)
    values = ValueReader.of(cursor, version)
    values.bound(n_entries, MAX_ENTRIES, values.length_bytes + 6, "n_kv")
    values.bound(n_tensors, MAX_ENTRIES, 2 * values.length_bytes + 17, "n_tensors")
    metadata_offset = cursor.offset
    entries = _read_entries(values, n_entries)
    alignment = _alignment(entries, path)
    infos_offset = cursor.offset
    infos = _read_infos(values, n_tensors, alignment)
    infos_end = cursor.offset
    data_offset = -(-infos_end // alignment) * alignment
    for info in infos:
        end = data_offset + info.offset + info.n_bytes
        if end > len(data):
            raise FormatError(
                f"{path}: tensor {info.name} ends at byte {end:,}, the file has {len(data):,}; it "
                f"is truncated or damaged, download it again"
            )
    return GgufHeader(
        path, version, cursor.order, len(data), alignment, entries, infos,
        metadata_offset, infos_offset, infos_end, data_offset,
    )  # fmt: skip


def _read_counts(cursor: Cursor) -> tuple[int, int, int]:
    """Version, number of tensors, number of keys; sets the cursor's byte order."""
    magic = cursor.take(4, "magic")
    if magic != GGUF:
        raise FormatError(
            f"{cursor.where}: starts with {magic!r}, expected {GGUF!r}; this is not a GGUF file"
        )
    cursor.need(4, "version")
    # the low half is 0 only if the word is stored in the other byte order: versions are below 65536
    (word,) = struct.unpack("<I", cursor.data[cursor.offset : cursor.offset + 4])
    cursor.order = ">" if word and word & 0xFFFF == 0 else "<"
    version = cursor.integer("u32", "version")
    if not 1 <= version <= 3:
        raise FormatError(
            f"{cursor.where}: GGUF version {version}, expected 1, 2 or 3; the file is damaged or "
            f"newer than this program"
        )
    kind: NumberKind = "u32" if version == 1 else "u64"
    return version, cursor.integer(kind, "n_tensors"), cursor.integer(kind, "n_kv")


def _read_entries(values: ValueReader, n_entries: int) -> dict[str, Entry]:
    """All keys with their values, in file order."""
    cursor = values.cursor
    start = cursor.offset
    entries: dict[str, Entry] = {}
    for _ in range(n_entries):
        with cursor.inside("key"):
            key = values.name(MAX_KEY_BYTES)
        if not key or key in entries:
            what = "occurs twice" if key else "is empty"
            raise FormatError(f"{cursor.where}: key {key!r} {what}; the file is damaged")
        with cursor.inside(visible(key)):
            entries[key] = values.entry()
        if cursor.offset - start > MAX_METADATA_BYTES:
            raise FormatError(
                f"{cursor.where}: metadata up to {key} take {cursor.offset - start:,} bytes, "
                f"expected at most {MAX_METADATA_BYTES:,}; the file is damaged"
            )
    return entries


def _alignment(entries: dict[str, Entry], path: Path) -> int:
    entry = entries.get("general.alignment")
    if entry is None:
        return DEFAULT_ALIGNMENT
    value = entry.value
    if entry.type != "u32" or not isinstance(value, int):
        raise FormatError(
            f"{path}: general.alignment is of type {entry.type}, expected u32; the file is damaged"
        )
    if not 1 <= value <= MAX_ALIGNMENT or value & (value - 1):
        raise FormatError(
            f"{path}: general.alignment is {value:,}, expected a power of two up to "
            f"{MAX_ALIGNMENT:,}; the file is damaged"
        )
    return value


def _read_infos(values: ValueReader, n_tensors: int, alignment: int) -> tuple[TensorInfo, ...]:
    """The tensor table, in file order."""
    cursor = values.cursor
    infos: dict[str, TensorInfo] = {}
    for i in range(n_tensors):
        with cursor.inside(f"tensor {i}"):
            info = _read_info(values, alignment)
        if info.name in infos:
            raise FormatError(
                f"{cursor.where}: tensor {info.name} occurs twice; the file is damaged"
            )
        infos[info.name] = info
    return tuple(infos.values())


def _read_info(values: ValueReader, alignment: int) -> TensorInfo:
    cursor = values.cursor
    name = values.name(MAX_NAME_BYTES)
    if not name:
        raise FormatError(f"{cursor.where}: a tensor has an empty name; the file is damaged")
    n_dims = cursor.integer("u32", "n_dims")
    if not 1 <= n_dims <= MAX_DIMENSIONS:
        raise FormatError(
            f"{cursor.where}: tensor {name} has {n_dims:,} dimensions, expected 1 to "
            f"{MAX_DIMENSIONS}; the file is damaged"
        )
    innermost_first = [cursor.integer(values.count_kind, f"dims[{i}]") for i in range(n_dims)]
    type_id = cursor.integer("u32", "type")
    type_name = GGML_TYPE_IDS.get(type_id)
    if type_name is None:
        raise FormatError(
            f"{cursor.where}: tensor {name} has type number {type_id}, expected one of "
            f"{', '.join(map(str, sorted(GGML_TYPE_IDS)))}; the file is damaged or newer than this "
            f"program"
        )
    offset = cursor.integer("u64", "offset")
    if offset > len(cursor.data):
        raise FormatError(
            f"{cursor.where}: tensor {name} has offset {offset:,}, the file has "
            f"{len(cursor.data):,} bytes; it is truncated or damaged, download it again"
        )
    if offset % alignment:
        raise FormatError(
            f"{cursor.where}: tensor {name} has offset {offset:,}, expected a multiple of "
            f"{alignment}; the file is damaged"
        )
    shape = tuple(reversed(innermost_first))
    n_bytes = n_bytes_for(type_name, shape, f"{cursor.where}: tensor {name}")
    return TensorInfo(name, type_name, shape, offset, n_bytes)
