"""Functions that numba compiles once: their machine code on disk, and when it is stale."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.ccallback import CFunc

from llama_edu.matmul.jit.disk_cache import cache_of
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


def call(what: str, function: Any, *arguments: object) -> None:
    """Call a compiled function; if it must be compiled first, that is shown.

    Args:
        what: what it is, after "compiling".
    """
    if function in _ready:
        function(*arguments)
        return
    with steps(what) as next_step:
        next_step()
        function(*arguments)
    _ready.add(function)


def compile_for(what: str, function: Any, n_integers: int) -> None:
    """Make a compiled function ready for arguments that are int64, without calling it."""
    with steps(what) as next_step:
        next_step()
        function.compile((numba.types.int64,) * n_integers)


#: The form of all functions that compiled code calls by their address.
_OF_NINE = ((numba.types.int64,) * 9, numba.types.void)


@cache
def address_of(what: str, function: Any) -> int:
    """The address of a function of nine int64, compiled now or loaded from disk, once.

    Args:
        what: its name in messages.
        function: of kernels.py or int8/kernels.py.
    """
    options = {"error_model": "numpy", "fastmath": {"contract"}}
    compiled: Any = CFunc(function, _OF_NINE, {}, options)
    compiled._cache = cache_of(function)
    with steps(what) as next_step:
        next_step()
        compiled.compile()
    _kept.append(compiled)
    return int(compiled.address)


#: Compiled functions whose addresses are in use.
_kept: list[Any] = []
