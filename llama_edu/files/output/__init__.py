"""Writing files so that a destination is either the old file, whole, or the new one, whole."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from llama_edu.errors import FormatError
from llama_edu.files.output.leftovers import held, hidden_path, recover


@contextmanager
def atomic_output(
    path: str | os.PathLike[str], n_bytes: int = 0, check: Callable[[], object] | None = None
) -> Iterator[BinaryIO]:
    """Open a file next to `path` for writing and move it into place if all went well.

    A process that has the old file mapped keeps the old bytes: os.replace gives the name to a new
    inode and does not change the old one. If anything fails, the new file is removed. A symbolic
    link stays, and what it leads to is replaced.

    Args:
        path: the destination. n_bytes: how much will be written, checked against the free space.
        check: called before the destination is replaced; what it raises leaves the old file.
    Raises:
        FormatError: the folder is missing or cannot be written, or the disk has too little space.
    """
    with atomic_outputs([path], n_bytes, check) as (file,):
        yield file


@contextmanager
def atomic_outputs(
    paths: Sequence[str | os.PathLike[str]],
    n_bytes: int = 0,
    check: Callable[[], object] | None = None,
) -> Iterator[list[BinaryIO]]:
    """As `atomic_output`, for files that belong together: all of them are replaced, or none.

    The first is the one without which no reader takes the others for a model. It is absent while
    the others are moved, so that a process that is killed meanwhile leaves the old files, the new
    ones, or a set that is refused; the next one that writes here puts the old ones back, and warns.

    Args:
        paths: the destinations. n_bytes: how much will be written into all of them together.
        check: called before the first destination is replaced.
    """
    with contextlib.ExitStack() as stack:
        targets = [_target(Path(path)) for path in paths]
        recover(targets)
        run = os.urandom(6).hex()
        outputs = [stack.enter_context(_beside(path, run, i)) for i, path in enumerate(targets)]
        _check_free_space(outputs[0].path, n_bytes)
        try:
            yield [output.file for output in outputs]
            for output in outputs:
                output.file.close()
            if check is not None:
                check()
            _move_into_place(outputs, run)
        except OSError as error:
            hint = _where_to_write(outputs[0].path) if error.errno == errno.ENOSPC else ""
            raise FormatError(
                f"{outputs[0].path}: writing failed ({error.strerror}); nothing was changed{hint}"
            ) from None


@dataclass(frozen=True)
class _Output:
    """A destination, and the open file that will become it."""

    path: Path
    beside: Path
    file: BinaryIO


def _target(path: Path) -> Path:
    """The destination, or what it leads to where it is a symbolic link."""
    try:
        return Path(os.path.realpath(path)) if path.is_symlink() else path
    except (OSError, ValueError):  # said when it cannot be written
        return path


@contextmanager
def _beside(path: Path, run: str, place: int) -> Iterator[_Output]:
    """A new file beside the destination, removed at the end unless it was moved into place."""
    try:
        _check_destination(path)
        mode = path.stat().st_mode & 0o777 if path.exists() else None
        beside = hidden_path(path, run, place, "tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(beside, flags, 0o666 if mode is None else mode)
    except OSError as error:
        raise FormatError(f"{path}: cannot be written ({error.strerror})") from None
    except ValueError as error:  # a path with a zero byte
        raise FormatError(f"{str(path)!a}: cannot be written ({error})") from None
    file = os.fdopen(descriptor, "wb")
    try:
        if mode is not None and beside.stat().st_mode & 0o777 != mode:
            with contextlib.suppress(OSError):  # CIFS, exFAT: there are no modes
                beside.chmod(mode)
        with held(beside):
            yield _Output(path, beside, file)
    finally:
        with contextlib.suppress(OSError):  # what it could not flush is not wanted any more
            file.close()
        beside.unlink(missing_ok=True)


def _move_into_place(outputs: Sequence[_Output], run: str) -> None:
    """Replace the destinations; where one cannot be, all of them are the old files again."""
    if len(outputs) == 1:
        outputs[0].beside.replace(outputs[0].path)
        return
    old: list[tuple[_Output, Path]] = []
    new: list[_Output] = []
    with contextlib.ExitStack() as stack:
        try:
            for place, output in enumerate(outputs):  # the first one first: now the set is refused
                if output.path.exists():
                    aside = hidden_path(output.path, run, place, "old")
                    old.append((output, aside))
                    stack.enter_context(held(output.path))
                    output.path.rename(aside)
            for output in reversed(outputs):  # the first one last
                new.append(output)
                output.beside.replace(output.path)
        except BaseException:
            for output in new:
                output.path.unlink(missing_ok=True)
            for output, aside in reversed(old):
                if aside.exists():
                    aside.replace(output.path)
            raise
        for _, aside in reversed(old):  # the first one last: by it the others are found
            aside.unlink(missing_ok=True)


def _check_free_space(path: Path, n_bytes: int) -> None:
    """Raise FormatError where the disk is known to have less room."""
    try:
        free_bytes = shutil.disk_usage(path.parent).free
    except OSError:  # a file system that does not say
        return
    if n_bytes > free_bytes:
        raise FormatError(
            f"{path}: needs {n_bytes:,} bytes, the disk has {free_bytes:,} free; nothing was "
            f"written{_where_to_write(path)}"
        )


def _where_to_write(path: Path) -> str:
    """How to give a file more room that the user did not place: one in the temporary folder."""
    import tempfile  # slow to import, and needed for this sentence only

    if not path.is_relative_to(tempfile.gettempdir()):
        return ""
    return "; set TMPDIR to a folder with more room"


def _check_destination(path: Path) -> None:
    """Raise FormatError unless a file of this name can replace what is there, if anything."""
    with contextlib.suppress(FileNotFoundError):
        path.lstat()  # OSError for a name that is too long
    if path.is_dir():
        raise FormatError(f"{path}: is a folder, expected the name of a file to write")
    if path.exists() and not path.is_file():  # os.replace would replace /dev/null
        raise FormatError(f"{path}: is not a regular file, expected the name of a file to write")
    if not path.parent.is_dir():
        raise FormatError(f"{path.parent}: no such folder; create it, or choose another output")
