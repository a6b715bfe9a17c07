"""Where machine code is kept: beside the package, else in the user's cache folder, else nowhere.

numba's own cache has the first two. This one also goes on where numba raises: without a folder that
can be written, on a full disk, with a damaged file. The functions are then compiled in memory,
which is said once.

numba keeps machine code as pickle, and loading pickle can run any code. Code beside the package is
as safe as the package; a folder elsewhere is made for this user alone, and one that others can
write to is not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    NullCache,
)

from llama_edu.errors import LlamaEduWarning
from llama_edu.matmul.jit.progress import compiles


def cache_of(function: Any) -> Any:
    """What numba asks for the machine code of a Python function, and gives it to."""
    folder, why_not = folder_for(Path(function.__code__.co_filename).parent)
    return NoCache(why_not) if folder is None else DiskCache(function)


@cache
def folder_for(sources: Path) -> tuple[Path | None, str]:
    """The folder for machine code of the sources in this folder, made if it is missing.

    A folder in NUMBA_CACHE_DIR, if that is set; else `__pycache__` beside the sources; else one in
    $XDG_CACHE_HOME or ~/.cache (~/Library/Caches on macOS, %LOCALAPPDATA% on Windows).

    Returns:
        The folder and ""; or None and the reasons.
    """
    reasons = []
    for folder, is_private in _candidates(sources):
        try:
            _make_writable(folder, is_private)
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror or error}")
        else:
            return folder, ""
    return None, "; ".join(reasons)


def _candidates(sources: Path) -> Iterator[tuple[Path, bool]]:
    """Folders from best to worst, each with whether it must be this user's alone."""
    name = f"{sources.name}_{hashlib.sha256(str(sources).encode()).hexdigest()[:16]}"
    if numba.config.CACHE_DIR:  # type: ignore[attr-defined]
        yield Path(numba.config.CACHE_DIR, name), True  # type: ignore[attr-defined]
        return
    yield sources / "__pycache__", False
    caches = _user_caches()
    if caches.is_absolute():
        yield caches / "llama_edu" / "machine_code" / name, True


def _user_caches() -> Path:
    """Where this user's programs keep what they can make again; relative if that is unknown."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", ""))
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home
        return Path()
    if sys.platform == "darwin":
        return home / "Library" / "Caches"
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else home / ".cache"


def _make_writable(folder: Path, is_private: bool) -> None:
    """Raise OSError unless the folder can be written, and if need be by this user alone."""
    folder.mkdir(mode=0o700 if is_private else 0o777, parents=True, exist_ok=True)
    if is_private and hasattr(os, "getuid"):
        status = folder.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(
                f"others can write to it, and whatever they put there would be run; "
                f"make it yours alone: chmod 700 {folder}"
            )
    tempfile.TemporaryFile(dir=folder).close()


class _Locator:
    """What numba asks for a function's place: here, the folder of its file."""

    def __init__(self, function: Any, source: str) -> None:
        self._py_file, self._line = source, function.__code__.co_firstlineno
        self._sources = Path(source).parent

    @classmethod
    def from_function(cls, function: Any, source: str) -> _Locator:
        """The place of a function that a source file defines."""
        return cls(function, source)

    def get_cache_path(self) -> str:
        """The folder, which exists."""
        return str(folder_for(self._sources)[0])

    def ensure_cache_path(self) -> None:
        """Make the folder again, if it was removed."""
        Path(self.get_cache_path()).mkdir(mode=0o700, exist_ok=True)

    def get_source_stamp(self) -> str:
        """What differs if the function's file does."""
        return _digest(self._py_file)

    def get_disambiguator(self) -> str:
        """What tells functions of one name apart."""
        return str(self._line)


@cache
def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class _Impl(CompileResultCacheImpl):  # type: ignore[misc]
    """How numba writes a function down."""

    _locator_classes = [_Locator]  # noqa: RUF012  (as in the base class)


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """An index, and a file for each compiled form, named after all that it depends on.

    numba numbers them, so that of two processes that compile at once, one's index could name the
    other's code.
    """

    def save(self, key: Any, data: Any) -> None:
        """Keep the code first, and then say in the index where it is."""
        forms = self._load_index()
        what = hashlib.sha256(repr((key, self._source_stamp)).encode()).hexdigest()[:16]
        forms[key] = f"{Path(self._index_name).stem}.{what}.nbc"
        self._save_data(forms[key], data)
        self._save_index(forms)

    def forms(self) -> Any:
        """What the index names, by key; raises whatever a damaged file happens to mean."""
        return self._load_index()

    def forget(self) -> None:
        """Remove an index that cannot be read, or that names code that cannot."""
        with contextlib.suppress(OSError):
            Path(self._index_path).unlink()


class DiskCache(FunctionCache):  # type: ignore[misc]
    """numba's cache of one function, whose failures are no reason not to compute."""

    _impl_class = _Impl

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        locator = self._impl.locator
        self._files = self._cache_file = _Files(
            locator.get_cache_path(), self._impl.filename_base, locator.get_source_stamp()
        )

    def has(self, signature: Any, target_context: Any) -> bool:
        """Whether there is machine code for these types; it may be damaged."""
        try:
            return self._index_key(signature, target_context.codegen()) in self._files.forms()
        except Exception:  # a damaged index
            return False

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The machine code for these types, or None."""
        found = None
        try:
            found = super().load_overload(signature, target_context)
        except Exception:  # a damaged file raises whatever its bytes happen to mean
            self._files.forget()
        if found is None:
            compiles()
        return found

    def save_overload(self, signature: Any, data: Any) -> None:
        """Keep the machine code for these types, if that is possible."""
        try:
            super().save_overload(signature, data)
        except Exception as error:
            why = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            _say_once(f"{self.cache_path}: {why}")


class NoCache(NullCache):  # type: ignore[misc]
    """What stands for a cache where no folder can be used."""

    def __init__(self, why: str) -> None:
        self._why = why

    def load_overload(self, signature: Any, target_context: Any) -> None:
        """Nothing; it will be compiled."""
        compiles()

    def save_overload(self, signature: Any, data: Any) -> None:
        """Say that the machine code is lost when this process ends."""
        _say_once(self._why)


_said: list[str] = []


def _say_once(why: str) -> None:
    if not _said:
        _said.append(why)
        warnings.warn(
            f"kernels 'jit': machine code cannot be kept on disk ({why}), so each process compiles "
            "it again; set NUMBA_CACHE_DIR to a folder that can be written",
            LlamaEduWarning,
            stacklevel=2,
        )
