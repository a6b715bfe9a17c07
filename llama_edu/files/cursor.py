"""Cursor: reads a header number by number, never past the end, and names what it reads.

A header is untrusted data. Every read is first compared with the bytes left, so a false count or
length becomes an error message instead of a huge allocation or an endless loop.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from mmap import mmap
from typing import Literal, overload

from llama_edu.errors import FormatError
from llama_edu.files.fields import Field, shown

#: Kinds of numbers, as file formats name them.
NumberKind = Literal["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"]

#: The byte order of numbers, as struct writes it: least or most significant byte first.
ByteOrder = Literal["<", ">"]

#: Kind of number -> struct's letter.
LETTERS: dict[str, str] = {
    "u8": "B", "i8": "b", "u16": "H", "i16": "h", "u32": "I", "i32": "i",
    "u64": "Q", "i64": "q", "f32": "f", "f64": "d",
}  # fmt: skip

#: Bytes that are read at once from a file that is not mapped.
_WINDOW_BYTES = 65536

_STRUCTS = {
    order: {kind: struct.Struct(order + letter) for kind, letter in LETTERS.items()}
    for order in "<>"
}


class FileBytes:
    """The bytes of a file that is not mapped: slices of it are copies, read when asked for.

    For files that can be read and not mapped. Raises FormatError where the system refuses to read.
    """

    def __init__(self, file: FileIO, n_bytes: int, where: object) -> None:
        self._file = file
        self._n_bytes = n_bytes
        self._where = where
        self._start, self._window = 0, b""

    def __len__(self) -> int:
        return self._n_bytes

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> bytes: ...
    def __getitem__(self, index: int | slice) -> int | bytes:
        if isinstance(index, int):
            start = range(self._n_bytes)[index]
            return self._read(start, start + 1)[0]
        start, stop, step = index.indices(self._n_bytes)
        return self._read(start, max(start, stop))[::step]

    def _read(self, start: int, stop: int) -> bytes:
        if not self._start <= start <= stop <= self._start + len(self._window):
            n_bytes = min(max(stop - start, _WINDOW_BYTES), self._n_bytes - start)
            self._start, self._window = start, self._read_exactly(start, n_bytes)
        return self._window[start - self._start : stop - self._start]

    def _read_exactly(self, start: int, n_bytes: int) -> bytes:
        chunks = []
        try:
            self._file.seek(start)
            while n_bytes and (chunk := self._file.read(n_bytes)):
                chunks.append(chunk)
                n_bytes -= len(chunk)
        except OSError as error:
            raise FormatError(
                f"{self._where}: cannot be read at byte {start:,} ({error.strerror})"
            ) from None
        if n_bytes:
            raise FormatError(f"{self._where}: shrank while it was read; open it again")
        return b"".join(chunks)


#: The bytes of a file: mapped, read when asked for, or in memory.
Bytes = mmap | FileBytes | bytes


class Cursor:
    """A position in the bytes of a file that moves forward as fields are read.

    Args:
        data: the file, mapped, read or in memory. Slices are copies; nothing keeps a pointer to it.
        where: the start of every error message, usually the path.
        order: "<" least significant byte first, ">" most significant first.
        trace: whether to keep a Field for everything that is read, in `fields`.
    """

    def __init__(
        self, data: Bytes, where: object, *, order: ByteOrder = "<", trace: bool = False
    ) -> None:
        self.data = data
        self.where = where
        self.offset = 0
        self.order: ByteOrder = order
        self.fields: list[Field] | None = [] if trace else None
        self._prefix = ""

    @property
    def left(self) -> int:
        """Bytes from here to the end of the file."""
        return len(self.data) - self.offset

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.left == 0

    @contextmanager
    def inside(self, part: str) -> Iterator[None]:
        """Put the name of a part before the names of all fields read inside the block."""
        outer, self._prefix = self._prefix, f"{self._prefix}{part}: "
        yield
        self._prefix = outer

    def need(self, n_bytes: int, name: str) -> None:
        """Raise FormatError unless `n_bytes` bytes are left."""
        if not 0 <= n_bytes <= self.left:
            raise FormatError(
                f"{self.where}: {self._prefix}{name} at byte {self.offset:,} needs {n_bytes:,} "
                f"bytes, {self.left:,} are left; the file is truncated or damaged"
            )

    def need_each(self, count: int, smallest_bytes: int, name: str) -> None:
        """Raise FormatError unless `count` records of at least `smallest_bytes` can follow."""
        if count < 0 or count * smallest_bytes > self.left:
            raise FormatError(
                f"{self.where}: {self._prefix}{name} is {count:,}, which takes at least "
                f"{max(count, 0) * smallest_bytes:,} bytes, {self.left:,} are left; the file is "
                f"truncated or damaged"
            )

    def number(self, kind: NumberKind, name: str) -> int | float:
        """Read a number of a kind such as "u32" and move past it."""
        packed = _STRUCTS[self.order][kind]
        self.need(packed.size, name)
        (value,) = packed.unpack(self.data[self.offset : self.offset + packed.size])
        self._passed(packed.size, name, value)
        return value

    def integer(self, kind: NumberKind, name: str) -> int:
        """Read a whole number of a kind such as "u32" and move past it."""
        value = self.number(kind, name)
        assert isinstance(value, int)  # the caller never asks for f32 or f64 here
        return value

    def u32(self, name: str) -> int:
        """Four bytes as an unsigned number."""
        return self.integer("u32", name)

    def i32(self, name: str) -> int:
        """Four bytes as a signed number."""
        return self.integer("i32", name)

    def f32(self, name: str) -> float:
        """Four bytes as a float."""
        return self.number("f32", name)

    def count(self, name: str, *, least: int, at_most: int) -> int:
        """A signed 32-bit count; FormatError outside the bounds."""
        value = self.i32(name)
        if not least <= value <= at_most:
            raise FormatError(
                f"{self.where}: {self._prefix}{name} at byte {self.offset - 4:,} is {value:,}, "
                f"expected {least:,} to {at_most:,}; the file is truncated or damaged"
            )
        return value

    def take(self, n_bytes: int, name: str) -> bytes:
        """A copy of the next bytes; moves past them."""
        self.need(n_bytes, name)
        value = self.data[self.offset : self.offset + n_bytes]
        self._passed(n_bytes, name, value)
        return value

    def skip(self, n_bytes: int, name: str, value: str = "") -> int:
        """Move past bytes without reading them, and return where they begin.

        `value` describes them in a trace.
        """
        self.need(n_bytes, name)
        start = self.offset
        self._passed(n_bytes, name, value, as_is=True)
        return start

    def _passed(self, n_bytes: int, name: str, value: object, *, as_is: bool = False) -> None:
        if self.fields is not None and n_bytes:
            text = str(value) if as_is else shown(value)
            self.fields.append(Field(self.offset, n_bytes, self._prefix + name, text))
        self.offset += n_bytes
