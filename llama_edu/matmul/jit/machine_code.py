"""Functions that numba compiles once: their machine code on disk, and when it is stale."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.ccallback import CFunc

from llama_edu.matmul.jit.disk_cache import DiskCache, cache_of
from llama_edu.matmul.jit.progress import steps

#: Functions that have been compiled, or loaded from disk, in this process.
_ready: set[Any] = set()


def njit(*, cache: bool = False, **options: Any) -> Callable[[Any], Any]:
    """numba.njit; with cache, machine code is kept as disk_cache.py says."""

    def compiled(function: Any) -> Any:
        dispatcher = numba.njit(**options)(function)
        if cache:
            dispatcher._cache = cache_of(function)
        return dispatcher

    return compiled


def forget_stale_code(function: Any, sources: Iterable[Path]) -> None:
    """Remove machine code from disk that is older than a source file.

    numba checks only a function's own file, but these functions inline code from other files: after
    a change in loops.py, the old code of loops_k.py and tiles.py would stay in use.

    Args:
        function: a compiled function; the code of all others from its folder is looked at as well.
        sources: what they are made of.
    """
    folder = function._cache.cache_path
    if folder is None:
        return
    newest = max(source.stat().st_mtime for source in sources)
    for file in Path(folder).glob("*.nb[ic]"):  # an index, and the code that it names
        with contextlib.suppress(OSError):  # another process may be removing it, too
            if file.stat().st_mtime < newest:
                file.unlink()


@contextlib.contextmanager
def _without_collecting() -> Iterator[None]:
    """While numba compiles, looking for garbage would take a tenth of the time."""
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_collecting:
            gc.enable()


def call(what: str, function: Any, *arguments: object) -> None:
    """Call a compiled function; if it must be compiled first, that is shown.

    Args:
        what: what it is, after "compiling".
    """
    if function in _ready:
        function(*arguments)
        return
    with steps(what) as next_step, _without_collecting():
        next_step()
        function(*arguments)
    _ready.add(function)


def compile_for(what: str, function: Any, n_integers: int) -> None:
    """Make a compiled function ready for arguments that are int64, without calling it."""
    with steps(what) as next_step, _without_collecting():
        next_step()
        function.compile((numba.types.int64,) * n_integers)


#: The form of all functions that compiled code calls by their address.
_OF_NINE = ((numba.types.int64,) * 9, numba.types.void)
_C_OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}}


@cache
def address_of(what: str, function: Any) -> int:
    """The address of a function of nine int64, compiled now or loaded from disk, once.

    Args:
        what: its name in messages.
        function: of kernels.py or int8/kernels.py.
    """
    compiled = _c_function(function)
    with steps(what) as next_step, _without_collecting():
        next_step()
        compiled.compile()
    _kept.append(compiled)
    return int(compiled.address)


def is_kept(function: Any) -> bool:
    """Whether the machine code of a function of nine int64 is on disk, for this processor."""
    compiled = _c_function(function)
    cache, target = compiled._cache, compiled._targetdescr.target_context
    return isinstance(cache, DiskCache) and cache.has(compiled._sig, target)


def _c_function(function: Any) -> Any:
    compiled: Any = CFunc(function, _OF_NINE, {}, _C_OPTIONS)
    compiled._cache = cache_of(function)
    return compiled


#: Compiled functions whose addresses are in use.
_kept: list[Any] = []
