"""The typed values in a GGUF header: numbers, strings and arrays of them, in every version.

Numbers and strings are read at once; an array is copied as one run of bytes, and its Python objects
are created on access.
Source: docs/gguf.md in ggml-org/ggml; versions 1 and 2 as in PRs #2398 and #2821 of llama.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from llama_edu.errors import FormatError
from llama_edu.files.cursor import LETTERS, Cursor, NumberKind
from llama_edu.files.gguf.string_array import ByteStrings, Texts, string_starts
from llama_edu.text import quoted

#: Value types by their number in the file.
VALUE_TYPES = (
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"
)  # fmt: skip

# Real files stay far below these limits; a header that exceeds them is damaged or hostile. The
# first bounds the memory that a header can claim, the second the time.
MAX_METADATA_BYTES = 128 * 2**20
MAX_STRINGS = 2**19  # Llama 3 has 280,147 merges
MAX_KEY_BYTES = 2**16 - 1  # docs/gguf.md


@dataclass(frozen=True)
class Entry:
    """One key's value, its type as text, and where it is stored.

    `value` is int, float, bool, str, a numpy array (on a private copy, read-only), or Texts.
    """

    type: str
    offset: int
    n_bytes: int
    value: object


@dataclass(frozen=True)
class ValueReader:
    """Reads strings and typed values as one version of the format stores them.

    Attributes:
        cursor: moves forward as values are read.
        count_kind: the number type of counts, lengths and dimensions: "u32" in version 1, "u64"
            since version 2.
        length_bytes: its size.
        terminated: whether a string may include a NUL at its end, as before version 3.
    """

    cursor: Cursor
    count_kind: NumberKind
    length_bytes: int
    terminated: bool

    @classmethod
    def of(cls, cursor: Cursor, version: int) -> ValueReader:
        """The reader for a file of this version."""
        return cls(cursor, "u32", 4, True) if version == 1 else cls(cursor, "u64", 8, version < 3)

    def bound(self, count: int, most: int, smallest_bytes: int, name: str) -> None:
        """Raise FormatError unless `count` records can follow and are at most `most`."""
        self.cursor.need_each(count, smallest_bytes, name)
        if count > most:
            raise FormatError(
                f"{self.cursor.where}: {name} is {count:,}, expected at most {most:,}; the file is "
                f"damaged"
            )

    def text(self, most_bytes: int) -> str:
        """A string; bytes that are not UTF-8 become surrogates, which a writer turns back."""
        cursor = self.cursor
        length = cursor.integer(self.count_kind, "length")
        cursor.need(length, "text")
        if length > most_bytes:
            raise FormatError(
                f"{cursor.where}: a string at byte {cursor.offset:,} has {length:,} bytes, "
                f"expected at most {most_bytes:,}; the file is damaged"
            )
        raw = cursor.take(length, "text")
        # the first C writer included the NUL at the end, until PR #2839 of llama.cpp
        if self.terminated and len(raw) > 1 and raw[-1] == 0:
            raw = raw[:-1]
        return raw.decode("utf-8", "surrogateescape")

    def name(self, most_bytes: int) -> str:
        """As `text`; FormatError for control characters."""
        name = self.text(most_bytes)
        if not name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").isprintable():
            raise FormatError(
                f"{self.cursor.where}: the name {quoted(name, 80)} has characters that cannot be "
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
        """The name of a value type, which is stored as a number."""
        number = self.cursor.integer("u32", name)
        if number >= len(VALUE_TYPES):
            raise FormatError(
                f"{self.cursor.where}: {name} {number:,} at byte {self.cursor.offset - 4:,}, "
                f"expected 0 to {len(VALUE_TYPES) - 1}; the file is damaged"
            )
        return VALUE_TYPES[number]

    def scalar(self, kind: str) -> int | float | bool | str:
        """One value of this type."""
        if kind == "string":
            return self.text(MAX_METADATA_BYTES)
        if kind in LETTERS:
            return self.cursor.number(cast(NumberKind, kind), "value")
        value = self.cursor.integer("u8", "value")
        if value > 1:
            raise FormatError(
                f"{self.cursor.where}: a bool at byte {self.cursor.offset - 1:,} is {value}, "
                f"expected 0 or 1; the file is damaged"
            )
        return bool(value)

    def array(self) -> tuple[str, np.ndarray | Texts]:
        """An array, copied as one run of bytes; its strings become objects on access."""
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
            self.bound(count, MAX_STRINGS, self.length_bytes, "string count")
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
