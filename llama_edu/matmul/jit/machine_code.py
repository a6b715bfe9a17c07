"""Machine code that numba compiles once and keeps on disk: when it is stale, and what is said."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.ccallback import CFunc

from llama_edu.matmul.jit.disk_cache import cache_of

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
    """Call a compiled function; before its first use, tell a terminal why it takes a while."""
    if function in _ready:
        function(*arguments)
        return
    start = time.perf_counter()
    if sys.stderr.isatty():
        print(f"loading the loop for {what}; compiling it takes a few seconds, once ...", end="",
              file=sys.stderr, flush=True)  # fmt: skip
    function(*arguments)
    if sys.stderr.isatty():
        compiled = "from disk" if function.stats.cache_hits else "compiled"
        print(f" {compiled}, {time.perf_counter() - start:.1f} s", file=sys.stderr)
    _ready.add(function)


#: The form of all functions that compiled code calls by their address.
_OF_NINE = ((numba.types.int64,) * 9, numba.types.void)


@cache
def address_of(what: str, function: Any) -> int:
    """The address of a function of nine int64, compiled now or loaded from disk, once.

    Args:
        what: its name in messages.
        function: of kernels.py or int8/kernels.py.
    """
    compiled = CFunc(function, _OF_NINE, {}, {"error_model": "numpy", "fastmath": {"contract"}})
    compiled._cache = cache_of(function)
    compiled.compile()
    _kept.append(compiled)
    return int(compiled.address)


#: Compiled functions whose addresses are in use.
_kept: list[Any] = []
