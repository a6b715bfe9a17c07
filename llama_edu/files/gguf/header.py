"""One GGUF file's header: keys and values, and the table of tensors, before any meaning is given.

Nothing here knows what a LLaMA is; `gguf` turns this into a Checkpoint. Numbers and strings are
read at once; an array is skipped in one numpy pass, and its Python objects are made when somebody
asks for them.
Source: docs/gguf.md in ggml-org/ggml; versions 1 and 2 as in PRs #2398 and #2821 of llama.cpp.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.cursor import LETTERS, Cursor
from llama_edu.files.gguf.string_array import ByteStrings, Texts, string_starts
from llama_edu.files.layout import n_bytes_for
from llama_edu.quants.blocks import GGML_TYPE_IDS

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32

#: Value types by their number in the file.
VALUE_TYPES = (
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"
)  # fmt: skip

# Real files stay far below these; above them a header is damaged or hostile. The first bounds the
# memory that a header can claim, the second the time.
MAX_METADATA_BYTES = 128 * 2**20
MAX_STRINGS = 2**19  # Llama 3 has 280,147 merges
MAX_ENTRIES = 2**16
MAX_KEY_BYTES = 2**16 - 1  # docs/gguf.md
MAX_NAME_BYTES = 63  # GGML_MAX_NAME is 64 and counts the NUL
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 2**20


@dataclass(frozen=True)
class Entry:
    """One key's value: its type in words, where it lies, and the value.

    `value` is int, float, bool, str, a numpy array (on a private copy, read-only), or Texts.
    """

    type: str
    offset: int
    n_bytes: int
    value: object


@dataclass(frozen=True)
class TensorInfo:
    """One row of the tensor table. `shape` is outermost first; `offset` counts from the data."""

    name: str
    type: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int


@dataclass(frozen=True)
class GgufHeader:
    """What one file says before its data.

    Attributes:
        order: "<" or ">", the byte order of every number in the file.
        entries: key -> Entry, in file order.
        infos: the tensor table, in file order.
        infos_offset: first byte of the table; `infos_end` the first after it.
        data_offset: where tensor data begin: infos_end rounded up to the alignment.
    """

    path: Path
    version: int
    order: str
    n_bytes: int
    alignment: int
    entries: dict[str, Entry]
    infos: tuple[TensorInfo, ...]
    metadata_offset: int
    infos_offset: int
    infos_end: int
    data_offset: int

    def lacks(self, key: str, expected: str) -> FormatError:
        """The error for a key whose value is absent or of another type than expected."""
        entry = self.entries.get(key)
        found = "is missing" if entry is None else f"is of type {entry.type}"
        return FormatError(
            f"{self.path}: key {key} {found}, expected {expected}; the file is incomplete or "
            f"damaged"
        )

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number of any width; `default` where the key is absent, None if it must be."""
        entry = self.entries.get(key)
        if entry is None and default is not None:
            return default
        value = entry.value if entry else None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.lacks(key, "a whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number; `default` where the key is absent, None if it must be there.

        Of an f32 the shortest decimal is given: 1e-05, not 9.99999974e-06, as other formats say it.
        """
        entry = self.entries.get(key)
        if entry is None and default is not None:
            return default
        value = entry.value if entry else None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.lacks(key, "a number")
        return float(str(np.float32(value))) if entry and entry.type == "f32" else float(value)

    def flag(self, key: str, default: bool) -> bool:
        """A bool; `default` where the key is absent."""
        entry = self.entries.get(key)
        if entry is None:
            return default
        if not isinstance(entry.value, bool):
            raise self.lacks(key, "a bool")
        return entry.value

    def text(self, key: str, default: str | None = None) -> str:
        """A string; `default` where the key is absent, None if it must be there."""
        entry = self.entries.get(key)
        if entry is None and default is not None:
            return default
        if entry is None or not isinstance(entry.value, str):
            raise self.lacks(key, "a string")
        return entry.value

    def strings(self, key: str) -> Texts | None:
        """An array of strings, or None where the key is absent."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        if not isinstance(entry.value, Texts):
            raise self.lacks(key, "an array of string")
        return entry.value

    def numbers(self, key: str, types: Sequence[str]) -> np.ndarray | None:
        """An array of numbers of one of these types, or None where the key is absent."""
        entry = self.entries.get(key)
        if entry is None:
            return None
        if entry.type not in [f"array of {kind}" for kind in types]:
            raise self.lacks(key, f"an array of {' or '.join(types)}")
        assert isinstance(entry.value, np.ndarray)
        return entry.value


def read_header(data: mmap | bytes, path: Path, cursor: Cursor | None = None) -> GgufHeader:
    """Read everything before the tensor data.

    Args:
        data: the file, mapped. Nothing that is returned points into it.
        cursor: one with a trace, for the hex view.
    Raises:
        FormatError: the header is not one, or contradicts itself or the size of the file.
    """
    cursor = cursor or Cursor(data, path)
    version, n_tensors, n_entries = _read_counts(cursor)
    count_kind = "u32" if version == 1 else "u64"
    length_bytes = 4 if version == 1 else 8
    _bound(cursor, n_entries, MAX_ENTRIES, length_bytes + 6, "n_kv")
    _bound(cursor, n_tensors, MAX_ENTRIES, 2 * length_bytes + 17, "n_tensors")
    values = _Values(cursor, count_kind, length_bytes, terminated=version < 3)
    metadata_offset = cursor.offset
    entries: dict[str, Entry] = {}
    for _ in range(n_entries):
        with cursor.inside("key"):
            key = values.name(MAX_KEY_BYTES)
        if not key or key in entries:
            what = "occurs twice" if key else "is empty"
            raise FormatError(f"{path}: key {key!r} {what}; the file is damaged")
        with cursor.inside(key):
            entries[key] = values.entry()
        if cursor.offset - metadata_offset > MAX_METADATA_BYTES:
            raise FormatError(
                f"{path}: metadata up to {key} take {cursor.offset - metadata_offset:,} bytes, "
                f"expected at most {MAX_METADATA_BYTES:,}; the file is damaged"
            )
    alignment = _alignment(entries, path)
    infos_offset = cursor.offset
    infos: dict[str, TensorInfo] = {}
    for i in range(n_tensors):
        with cursor.inside(f"tensor {i}"):
            info = _read_info(cursor, values, "u32" if version == 1 else "u64", alignment)
        if info.name in infos:
            raise FormatError(f"{path}: tensor {info.name} occurs twice; the file is damaged")
        infos[info.name] = info
    infos_end = cursor.offset
    data_offset = -(-infos_end // alignment) * alignment
    for info in infos.values():
        end = data_offset + info.offset + info.n_bytes
        if end > len(data):
            raise FormatError(
                f"{path}: tensor {info.name} ends at byte {end:,}, the file has {len(data):,}; it "
                f"is truncated or damaged, download it again"
            )
    return GgufHeader(
        path, version, cursor.order, len(data), alignment, entries, tuple(infos.values()),
        metadata_offset, infos_offset, infos_end, data_offset,
    )  # fmt: skip


def _read_counts(cursor: Cursor) -> tuple[int, int, int]:
    """Version, number of tensors, number of keys; sets the cursor's byte order."""
    magic = cursor.take(4, "magic")
    if magic != MAGIC:
        raise FormatError(
            f"{cursor.where}: starts with {magic!r}, expected {MAGIC!r}; this is no GGUF file"
        )
    cursor.import_optional(4, "version")
    # the low half is 0 only when the word is stored the other way round: no version reaches 65536
    (word,) = struct.unpack_from("<I", cursor.data, cursor.offset)
    cursor.order = ">" if word and word & 0xFFFF == 0 else "<"
    version = cursor.integer("u32", "version")
    if not 1 <= version <= 3:
        raise FormatError(
            f"{cursor.where}: GGUF version {version}, expected 1, 2 or 3; the file is damaged or "
            f"newer than this program"
        )
    kind = "u32" if version == 1 else "u64"
    return version, cursor.integer(kind, "n_tensors"), cursor.integer(kind, "n_kv")


def _bound(cursor: Cursor, count: int, most: int, smallest_bytes: int, name: str) -> None:
    cursor.need_each(count, smallest_bytes, name)
    if count > most:
        raise FormatError(
            f"{cursor.where}: {name} is {count:,}, expected at most {most:,}; the file is damaged"
        )


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


def _read_info(cursor: Cursor, values: _Values, dim_kind: str, alignment: int) -> TensorInfo:
    name = values.name(MAX_NAME_BYTES)
    if not name:
        raise FormatError(f"{cursor.where}: a tensor has an empty name; the file is damaged")
    n_dims = cursor.integer("u32", "n_dims")
    if not 1 <= n_dims <= MAX_DIMENSIONS:
        raise FormatError(
            f"{cursor.where}: tensor {name} has {n_dims:,} dimensions, expected 1 to "
            f"{MAX_DIMENSIONS}; the file is damaged"
        )
    innermost_first = [cursor.integer(dim_kind, f"dims[{i}]") for i in range(n_dims)]
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


@dataclass(frozen=True)
class _Values:
    """Reads strings and typed values as this version of the format stores them."""

    cursor: Cursor
    count_kind: str
    length_bytes: int
    terminated: bool

    def text(self, most_bytes: int) -> str:
        """A string; bytes that are not UTF-8 are shown as escapes, so that names stay distinct."""
        cursor = self.cursor
        length = cursor.integer(self.count_kind, "length")
        cursor.import_optional(length, "text")
        if length > most_bytes:
            raise FormatError(
                f"{cursor.where}: a text at byte {cursor.offset:,} has {length:,} bytes, expected "
                f"at most {most_bytes:,}; the file is damaged"
            )
        raw = cursor.take(length, "text")
        # the first C writer counted the NUL at the end; llama.cpp PR #2839 ended that
        if self.terminated and len(raw) > 1 and raw[-1] == 0:
            raw = raw[:-1]
        return raw.decode("utf-8", "backslashreplace")

    def name(self, most_bytes: int) -> str:
        """A string that errors and tables will show: no control characters, no terminal escapes."""
        name = self.text(most_bytes)
        if not name.isprintable():
            raise FormatError(
                f"{self.cursor.where}: the name {name[:80]!a} has characters that cannot be "
                f"printed; the file is damaged"
            )
        return name

    def entry(self) -> Entry:
        """The type and the value that follow a key."""
        kind = self.kind("value type")
        offset = self.cursor.offset
        value: object
        if kind == "array":
            kind, value = self.array()
        else:
            value = self.scalar(kind)
        return Entry(kind, offset, self.cursor.offset - offset, value)

    def kind(self, name: str) -> str:
        number = self.cursor.integer("u32", name)
        if number >= len(VALUE_TYPES):
            raise FormatError(
                f"{self.cursor.where}: {name} {number:,} at byte {self.cursor.offset - 4:,}, "
                f"expected 0 to {len(VALUE_TYPES) - 1}; the file is damaged"
            )
        return VALUE_TYPES[number]

    def scalar(self, kind: str) -> int | float | bool | str:
        if kind == "string":
            return self.text(MAX_METADATA_BYTES)
        if kind in LETTERS:
            return self.cursor.number(kind, "value")
        value = self.cursor.integer("u8", "value")
        if value > 1:
            raise FormatError(
                f"{self.cursor.where}: a bool at byte {self.cursor.offset - 1:,} is {value}, "
                f"expected 0 or 1; the file is damaged"
            )
        return bool(value)

    def array(self) -> tuple[str, np.ndarray | Texts]:
        """An array, copied as one run of bytes; its strings become objects when asked for."""
        cursor = self.cursor
        kind = self.kind("element type")
        count = cursor.integer(self.count_kind, "count")
        if kind == "array":
            raise FormatError(
                f"{cursor.where}: an array of arrays at byte {cursor.offset:,}; no LLaMA file has "
                f"one, expected numbers or strings"
            )
        start = cursor.offset
        if kind == "string":
            _bound(cursor, count, MAX_STRINGS, self.length_bytes, "string count")
            starts, end = string_starts(
                cursor.data, start, count,
                length_bytes=self.length_bytes, order=cursor.order, where=str(cursor.where),
            )  # fmt: skip
        else:
            dtype = np.dtype(np.bool_ if kind == "bool" else cursor.order + LETTERS[kind])
            cursor.need_each(count, dtype.itemsize, "count")
            end = start + count * dtype.itemsize
        if end - start > MAX_METADATA_BYTES:
            raise FormatError(
                f"{cursor.where}: an array at byte {start:,} takes {end - start:,} bytes, expected "
                f"at most {MAX_METADATA_BYTES:,}; the file is damaged"
            )
        cursor.skip(end - start, f"{count:,} x {kind}")
        raw = cursor.data[start:end]
        if kind == "string":
            strings = ByteStrings(
                raw, starts - start, self.length_bytes, terminated=self.terminated
            )
            return "array of string", Texts(strings)
        return f"array of {kind}", np.frombuffer(raw, dtype)
