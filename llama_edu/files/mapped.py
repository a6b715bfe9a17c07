"""MappedFile: one weight file in the address space, and views of it that copy nothing.

This is the idea of the whole project in one class. Opening maps the file and reads no weight;
`view` returns an array whose data is the file's own pages; the operating system fetches a page
when a number on it is first used. `read` is the old way, kept for comparison: it copies.
"""

from __future__ import annotations

import gc
import mmap
import os
import stat
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Literal, NoReturn, Self, cast, overload

import numpy as np

from llama_edu.errors import FormatError, RequestError
from llama_edu.files.cursor import FileBytes
from llama_edu.files.layout import TensorSpec
from llama_edu.quants.scaled import ScaledArray
from llama_edu.quants.transposed import TransposedBlocks
from llama_edu.text import visible

#: The class of mappings, under a name that no attribute hides.
Mapping = mmap.mmap


@dataclass(frozen=True)
class FileIdentity:
    """What distinguishes a file from other files, and from its own earlier contents."""

    device: int
    inode: int
    n_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileIdentity:
        """The identity in a stat result."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class ClosedAtExit:
    """A context manager that unmaps, when it exits, what it has mapped.

    An exception from the block is never replaced by close()'s BufferError: its traceback may hold
    views, and the exception matters more.
    """

    def close(self) -> None:
        """Unmap; BufferError while a view is held."""
        raise TypeError(f"{type(self).__name__} has no close()")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            self.close()
        except BufferError:
            if kind is None:
                raise


class MappedFile(ClosedAtExit):
    """A file mapped read-only into memory.

    Args:
        path: the file.
        private: map with MAP_PRIVATE instead of MAP_SHARED. Both read the same pages of the page
            cache; instruments that register the range with the kernel need a private mapping.
            Where a file may not be mapped MAP_SHARED, it is mapped MAP_PRIVATE as well.
        is_mapped: False for a file that is read and not mapped: `data` and `read` work as always,
            `view` gives a copy like `read`, and `mmap` raises RequestError.

    Attributes:
        data: the bytes of the file, for reading a header; slices are copies.

    The file is opened once; its header is read through the mapping, and `read` uses the same open
    file. A context manager. Closing while views are alive raises BufferError and names them: a view
    without its mapping would be a dangling pointer. FormatError if the file cannot be opened or is
    empty.
    Source: mmap(2); PR #613 of llama.cpp, which maps the file the same way.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, private: bool = False, is_mapped: bool = True
    ) -> None:
        self.path = Path(path)
        self._views: list[tuple[str, weakref.ref[np.ndarray]]] = []
        self._file: FileIO = open_weights(self.path, buffering=0)
        weakref.finalize(self, self._file.close)  # for a MappedFile that is dropped, not closed
        self.identity = FileIdentity.of(os.fstat(self._file.fileno()))
        if self.identity.n_bytes == 0:
            raise FormatError(f"{path}: is empty, expected a weight file; download it again")
        self.data: Mapping | FileBytes
        if is_mapped:
            self.data = self._map(private)
        else:
            self.data = FileBytes(self._file, self.identity.n_bytes, self.path)

    def _map(self, private: bool) -> Mapping:
        """The mapping; FormatError where the system refuses it."""
        shared = {"access": mmap.ACCESS_READ}
        ways = [shared]
        if hasattr(mmap, "MAP_PRIVATE"):
            unshared = {"flags": mmap.MAP_PRIVATE, "prot": mmap.PROT_READ}
            ways = [unshared] if private else [shared, unshared]
        refused: Exception | None = None
        for way in ways:
            try:
                return mmap.mmap(self._file.fileno(), self.identity.n_bytes, **way)
            except (OSError, OverflowError, ValueError) as error:
                refused = error
        self._file.close()
        reason = getattr(refused, "strerror", None) or refused
        raise FormatError(
            f"{self.path}: cannot be mapped ({reason}); read it into memory instead, where the "
            f"command has --no-mmap, or with load(path, mmap=False)"
        ) from None

    @property
    def mmap(self) -> Mapping:
        """The mapping. RequestError where the file is read and not mapped."""
        if isinstance(self.data, FileBytes):
            raise RequestError(f"{self.path}: was opened without mapping it")
        return self.data

    @property
    def n_bytes(self) -> int:
        """Size of the file when it was opened."""
        return self.identity.n_bytes

    @property
    def address(self) -> int:
        """Where the mapping starts in this process's memory; a multiple of the page size."""
        return np.frombuffer(self.mmap, np.uint8, 1).ctypes.data

    def view(self, spec: TensorSpec) -> np.ndarray:
        """The tensor in place: a read-only array on the mapping that does not own its data.

        Returns:
            `spec.stored_shape` of `spec.dtype`; for the plain types this is the tensor's shape. One
            that is stored transposed is turned round: a TransposedBlocks where it has blocks.
        Raises:
            FormatError: the tensor extends beyond the end of the file.
        """
        if isinstance(self.data, FileBytes):
            return self.read(spec)
        check_range(spec, self.n_bytes, self.path)
        # np.ndarray on the mmap itself would not keep it from being closed; on this array it does
        buffer = np.frombuffer(self.mmap, np.uint8)
        buffer.flags.writeable = False
        # the buffer lives as long as the array and everything that is sliced from it
        self._views.append((spec.name, weakref.ref(buffer)))
        return _array_on(buffer, spec, spec.offset)

    def read(self, spec: TensorSpec) -> np.ndarray:
        """The tensor as a private, read-only copy, made with read(2) and not through the mapping.

        Raises:
            FormatError: the tensor reaches beyond the end of the file, the file shrank, or the
                system cannot read it.
        """
        check_range(spec, self.n_bytes, self.path)
        if spec.group_size or spec.strides is not None or spec.transposed:
            array = np.empty(spec.n_bytes, np.uint8)
        else:
            array = np.empty(spec.stored_shape, spec.dtype)
        n_read = self._read_into(array.data.cast("B"), spec.offset) if array.nbytes else 0
        if n_read != spec.n_bytes:
            raise FormatError(
                f"{self.path}: {spec.name} ends after {n_read:,} of {spec.n_bytes:,} bytes; the "
                f"file shrank after it was opened"
            )
        if spec.strides is not None and not spec.transposed:  # in the order of its shape from here
            array = _array_on(array, spec, 0).copy()
        array.flags.writeable = False
        return _array_on(array, spec, 0) if spec.group_size or spec.transposed else array

    def _read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill a buffer from the file; returns how many bytes there were."""
        n_read = 0
        try:
            self._file.seek(offset)
            # one read(2) gives at most 2 GiB
            while n_read < len(buffer) and (n := self._file.readinto(buffer[n_read:])):
                n_read += n
        except OSError as error:
            raise FormatError(
                f"{self.path}: cannot be read at byte {offset + n_read:,} ({error.strerror})"
            ) from None
        return n_read

    def check_unchanged(self) -> None:
        """Raise FormatError if the file is no longer the one that was opened.

        Reading a mapped page beyond the new end of a shortened file kills the process with SIGBUS,
        so this is called before many pages are touched.
        """
        try:
            now = FileIdentity.of(self.path.stat())
        except OSError as error:
            raise FormatError(f"{self.path}: can no longer be found ({error.strerror})") from None
        if now != self.identity:
            is_other = now.inode != self.identity.inode
            self._raise_changed("was replaced" if is_other else "was changed", now.n_bytes)

    def check_bytes_unchanged(self) -> None:
        """Raise FormatError if the bytes that were mapped were cut off or written over since.

        One fstat(2), so cheap enough to be asked before each token. A file that took the name of
        this one is no matter, unlike for `check_unchanged`: the mapping keeps the old bytes.
        """
        if self.closed:
            return
        now, then = os.fstat(self._file.fileno()), self.identity
        if now.st_size != then.n_bytes or now.st_mtime_ns != then.mtime_ns:
            self._raise_changed("was changed", now.st_size)

    def _raise_changed(self, what: str, n_bytes: int) -> NoReturn:
        raise FormatError(
            f"{self.path}: {what} after it was opened: {self.identity.n_bytes:,} bytes then, "
            f"{n_bytes:,} now; open it again"
        )

    @property
    def held_views(self) -> tuple[str, ...]:
        """Names of the tensors of which a view is still held."""
        self._views = [(name, ref) for name, ref in self._views if ref() is not None]
        return tuple(dict.fromkeys(name for name, _ in self._views))

    @property
    def closed(self) -> bool:
        """Whether the file is closed, and its mapping gone."""
        return self._file.closed

    def close(self) -> None:
        """Unmap the file and close it.

        Raises BufferError, naming the tensors, if views are still held.
        """
        try:
            self._unmap()
        except BufferError:
            gc.collect()  # a view may be left in a cycle of objects that nothing else refers to
        try:
            self._unmap()
        except BufferError:
            held = self.held_views
            names = visible(", ".join(held[:3]))
            names += f" and {len(held) - 3} more" if len(held) > 3 else ""
            raise BufferError(
                f"{visible(str(self.path))}: {len(held)} views are still held ({names}); "
                f"delete them before closing the file"
            ) from None

    def _unmap(self) -> None:
        if isinstance(self.data, Mapping):
            self.data.close()
        self._file.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.n_bytes:,} bytes"
        return f"MappedFile({self.path.name!r}, {state})"


class OpenFiles(ClosedAtExit):
    """The files of one checkpoint while its headers are read: each is opened once and stays open.

    A reader asks for its files by path, the one by which the format was recognized among them. A
    context manager that closes them all. `is_mapped` is what MappedFile takes.
    """

    def __init__(self, *, is_mapped: bool = True) -> None:
        self._by_path: dict[Path, MappedFile] = {}
        self._is_mapped = is_mapped

    def open(self, path: Path) -> MappedFile:
        """This file, opened when it is asked for the first time."""
        if path not in self._by_path:
            self._by_path[path] = MappedFile(path, is_mapped=self._is_mapped)
        return self._by_path[path]

    def in_order(self, paths: Iterable[Path]) -> tuple[MappedFile, ...]:
        """These files, as `TensorSpec.file` counts them."""
        return tuple(self.open(path) for path in paths)

    def close(self) -> None:
        """Close every file. BufferError while a view of one of them is held."""
        for file in self._by_path.values():
            file.close()


def _array_on(buffer: np.ndarray, spec: TensorSpec, offset: int) -> np.ndarray:
    """The array that a spec describes, in a buffer where it begins at `offset`."""
    if spec.group_size:
        numbers = np.ndarray(spec.shape, np.int8, buffer, offset)
        n_groups = spec.n_elements // spec.group_size
        scales = np.ndarray(n_groups, "<f4", buffer, offset + spec.n_elements)
        # not an ndarray, but it has what is needed of a stored one: dtype, shape, rows
        return cast(np.ndarray, ScaledArray(numbers, scales, spec.group_size))
    array = np.ndarray(spec.stored_shape, spec.dtype, buffer, offset, spec.strides)
    if not spec.transposed:
        return array
    if spec.block_size == 1:
        return array.T
    return cast(np.ndarray, TransposedBlocks(array, spec.block_size))


@overload
def open_weights(path: Path) -> BufferedReader: ...
@overload
def open_weights(path: Path, buffering: Literal[0]) -> FileIO: ...
def open_weights(path: Path, buffering: int = -1) -> BufferedReader | FileIO:
    """Open a file for binary reading, or raise a FormatError that says why not.

    `buffering` 0 returns a FileIO, whose reads are one read(2) each.
    """
    # a pipe that nothing writes to would keep us waiting
    flags = os.O_RDONLY
    for name in ("O_CLOEXEC", "O_NONBLOCK", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise FormatError(f"{path}: no such file; check the path") from None
    except OSError as error:
        if os.path.isdir(path):  # noqa: PTH112 - Windows; Path.is_dir raises for a long name
            raise FormatError(f"{path}: is a folder, expected one weight file") from None
        raise FormatError(f"{path}: cannot be opened ({error.strerror})") from None
    except ValueError as error:  # a path with a zero byte
        raise FormatError(f"{str(path)!a}: cannot be opened ({error})") from None
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb", 0) if buffering == 0 else os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise FormatError(f"{path}: is a folder, expected one weight file")
    if stat.S_ISFIFO(mode):
        raise FormatError(
            f"{path}: is a pipe, which cannot be mapped; save what it gives to a file, and give "
            f"that file"
        )
    raise FormatError(f"{path}: is a device, expected a weight file; check the path")


def check_range(spec: TensorSpec, file_bytes: int, where: object) -> None:
    """Raise FormatError unless every byte of the tensor is inside the file."""
    if spec.offset < 0 or spec.n_bytes < 0 or spec.end > file_bytes:
        raise FormatError(
            f"{where}: {spec.name} is at bytes {spec.offset:,} to {spec.end:,}, the file has "
            f"{file_bytes:,}; it is truncated or damaged, download it again"
        )
