"""Writing a file so that the destination is always the whole old file or the whole new one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llama_edu.errors import FormatError


@contextmanager
def atomic_output(path: str | os.PathLike[str], n_bytes: int = 0) -> Iterator[BinaryIO]:
    """Open a file next to `path` for writing and move it into place if all went well.

    A process that has the old file mapped keeps the old bytes: os.replace gives the name to a new
    inode and does not change the old one. If anything fails, the new file is removed.

    Args:
        path: the destination. n_bytes: how much will be written, checked against the free space.
    Raises:
        FormatError: the folder is missing or cannot be written, or the disk has too little space.
    """
    import tempfile  # slow to import, and most programs only read

    path = Path(path)
    try:
        _check_destination(path)
    except OSError as error:
        raise FormatError(f"{path}: cannot be written ({error.strerror})") from None
    folder = path.parent
    free_bytes = shutil.disk_usage(folder).free
    if n_bytes > free_bytes:
        raise FormatError(
            f"{path}: needs {n_bytes:,} bytes, the disk has {free_bytes:,} free; nothing was "
            f"written"
        )
    try:
        descriptor, beside = tempfile.mkstemp(dir=folder, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise FormatError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        mode = path.stat().st_mode if path.exists() else 0o666 & ~_umask()
        Path(beside).chmod(mode & 0o777)
        Path(beside).replace(path)
    except BaseException as error:
        Path(beside).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FormatError(
                f"{path}: writing failed ({error.strerror}); nothing was changed"
            ) from None
        raise


def _check_destination(path: Path) -> None:
    """Raise FormatError unless a file of this name can replace what is there, if anything."""
    if path.is_dir():
        raise FormatError(f"{path}: is a folder, expected the name of a file to write")
    if path.exists() and not path.is_file():  # os.replace would replace /dev/null
        raise FormatError(f"{path}: is not a regular file, expected the name of a file to write")
    if not path.parent.is_dir():
        raise FormatError(f"{path.parent}: no such folder; create it, or choose another output")


def _umask() -> int:
    """The process's file mode mask, which can be read only by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
