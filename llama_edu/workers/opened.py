"""What a piece of work names in place of an open model, and the models that this process keeps.

A model cannot be sent to another process, and need not be: the other one maps the same file, and
the system gives both the same pages. So a piece names a path, how to open it, and which file it
was. Each process opens it once and keeps it for the pieces that follow.
"""

from __future__ import annotations

import os
import platform
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from llama_edu.errors import FormatError
from llama_edu.files.detect import open_checkpoint
from llama_edu.files.mapped import FileIdentity
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.matmul.arithmetic import ArithmeticChoice
from llama_edu.matmul.choice import Kernels
from llama_edu.models import locate
from llama_edu.stated import Stated

#: How many models a process keeps open; of more, those that were used least recently are closed.
MOST_OPEN = 8

_Made = TypeVar("_Made")


class FileReplacedError(FormatError):
    """A file is no longer the one that a measurement began with; pieces of two are not mixed."""


@dataclass(frozen=True)
class WeightsFile:
    """A checkpoint as a piece of work names it: picklable, and open nowhere.

    Attributes:
        path: absolute. files: each file of it, and what it was when the work was planned. host: the
            machine on which that was; on others the same path may hold a copy.
        tokenizer, threads, kernels, arithmetic, stated, mmap: of load().
        same_bits: whether numpy's kernels get one thread, whatever `threads` says: their last bits
            depend on it. Compiled kernels give the same with any number.
    """

    path: str
    files: tuple[tuple[str, FileIdentity], ...]
    tokenizer: str | None = None
    threads: int | None = None
    kernels: Kernels = "auto"
    arithmetic: ArithmeticChoice = "float32"
    stated: Stated = field(default_factory=Stated)
    mmap: bool = True
    same_bits: bool = True
    host: str = field(default_factory=platform.node)

    @classmethod
    def at(
        cls,
        path: str | os.PathLike[str],
        *,
        tokenizer: str | os.PathLike[str] | None = None,
        threads: int | None = None,
        kernels: Kernels = "auto",
        arithmetic: ArithmeticChoice = "float32",
        stated: Stated | None = None,
        mmap: bool = True,
        same_bits: bool = True,
    ) -> WeightsFile:
        """What lies at a path or behind a name now; its headers are read, nothing is kept open.

        Raises FormatError where it is no checkpoint.
        """
        _, opened_files = open_checkpoint(path, mmap=False)
        for file in opened_files:
            file.close()
        return cls(
            path=str(locate(path).absolute()),
            files=tuple((str(file.path.absolute()), file.identity) for file in opened_files),
            tokenizer=None if tokenizer is None else str(locate(tokenizer).absolute()),
            threads=threads,
            kernels=kernels,
            arithmetic=arithmetic,
            stated=stated or Stated(),
            mmap=mmap,
            same_bits=same_bits,
        )

    @property
    def name(self) -> str:
        """The last part of the path."""
        return Path(self.path).name

    def check_same(self) -> None:
        """Raise FileReplacedError where a file is not the one that the work was planned for.

        On another machine, inode and device are others: there, size and time of change must agree.
        """
        for path, then in self.files:
            try:
                now = FileIdentity.of(os.stat(path))  # noqa: PTH116 - a str, asked for each piece
            except OSError as error:
                raise FileReplacedError(
                    f"{path}: can no longer be found ({error.strerror}), though the measurement "
                    f"began with it; measure again"
                ) from None
            if self.host != platform.node():
                if (now.n_bytes, now.mtime_ns) != (then.n_bytes, then.mtime_ns):
                    raise FileReplacedError(
                        f"{path}: has another size or time of change on {platform.node()} "
                        f"({now.n_bytes:,} bytes) than on {self.host} ({then.n_bytes:,}), expected "
                        f"a copy that keeps both (cp -p, rsync -t), or a shared file system"
                    )
            elif now != then:
                what = "replaced" if now.inode != then.inode else "changed"
                raise FileReplacedError(
                    f"{path}: was {what} between two pieces of one measurement ({then.n_bytes:,} "
                    f"bytes then, {now.n_bytes:,} now), expected the same file for all; nothing is "
                    f"averaged over two files, measure again"
                )


@dataclass
class Opened:
    """An open model of this process.

    Attributes:
        kept: what pieces made of it for those that follow.
        n_users: pieces that use it at the moment.
    """

    llama: Llama
    kept: dict[str, Any] = field(default_factory=dict)
    n_users: int = 0

    def once(self, name: str, make: Callable[[Llama], _Made]) -> _Made:
        """What make(llama) gave when it was asked for under this name for the first time."""
        if name not in self.kept:
            self.kept[name] = make(self.llama)
        return cast(_Made, self.kept[name])


_open: OrderedDict[WeightsFile, Opened] = OrderedDict()
_lock = threading.RLock()


@contextmanager
def opened(file: WeightsFile) -> Iterator[Opened]:
    """The model, opened when this process is asked for it first, for the length of a block.

    Raises:
        FileReplacedError: the file is another one than when the work was planned.
        FormatError, RequestError: as load().
    """
    file.check_same()
    with _lock:
        found = _open.get(file)
        if found is None:
            found = _open[file] = Opened(_loaded(file))
        _open.move_to_end(file)
        found.n_users += 1
        _close_unused(MOST_OPEN)
    try:
        yield found
    finally:
        with _lock:
            found.n_users -= 1


def close_opened() -> None:
    """Close every model that this process keeps and no piece uses at the moment."""
    with _lock:
        _close_unused(0)


def _loaded(file: WeightsFile) -> Llama:
    """With one thread where numpy multiplies: there the last bits depend on how many there are."""
    threads = 1 if file.same_bits and file.kernels == "numpy" else file.threads
    llama = _load(file, threads)
    if threads == 1 or not file.same_bits or llama.is_compiled:
        return llama
    llama.close()
    return _load(file, 1)


def _load(file: WeightsFile, threads: int | None) -> Llama:
    return load(
        file.path, file.mmap, tokenizer=file.tokenizer, threads=threads, kernels=file.kernels,
        arithmetic=file.arithmetic, **vars(file.stated),
    )  # fmt: skip


def _close_unused(at_most: int) -> None:
    for file, found in list(_open.items()):
        if len(_open) <= at_most:
            return
        if not found.n_users:
            del _open[file]
            found.kept.clear()
            with suppress(BufferError):  # a view is held elsewhere; it keeps the mapping
                found.llama.close()
