"""x @ w.T for stored weights, compiled by numba: the fast sibling of matmul/product.py.

For a few positions (decode), each type in TYPES has a loop that reads the blocks in place; the
float32 weights never exist in memory. For many (prefill), BLAS multiplies tiles, as in
matmul/tiles.py, but compiled code fills the tiles in a single pass. Other types go to
matmul/product.py.

Needs the extra `jit`. The machine code of each type is compiled once and kept on disk. A forked
child must not use the OpenMP threads that its parent started: there, Python threads share the rows.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.matmul import product
from llama_edu.matmul.product import Matmul
from llama_edu.matmul.threads import run_shares
from llama_edu.matmul.tiles import by_tiles
from llama_edu.quants import bitfields
from llama_edu.quants.blocks import BLOCK_TYPES, BlockType, block_type_of

try:
    import numba

    from llama_edu.matmul.jit import loops, loops_k, shares, tiles
except Exception as error:  # a numba that is installed and broken fails in many ways
    raise RequestError(
        f"kernels 'jit' need numba, which cannot be imported ({type(error).__name__}: {error}); "
        "run: pip install numba, or choose kernels='numpy'"
    ) from None
if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise RequestError(
        "kernels 'jit': numba is switched off by NUMBA_DISABLE_JIT; unset it, or choose "
        "kernels='numpy'"
    )


def forget_stale_code(function: Any, sources: Iterable[Path]) -> None:
    """Remove machine code from disk that is older than a source file.

    numba checks only a function's own file, but these functions inline code from other files: after
    a change in loops.py, the old code of loops_k.py, tiles.py and shares.py would stay in use.

    Args:
        function: a compiled function; the code of all others from its folder is looked at as well.
        sources: what they are made of.
    """
    # a cache may be one that cannot be changed, or that another process changes
    with contextlib.suppress(OSError):
        newest = max(source.stat().st_mtime for source in sources)
        for index in Path(function._cache.cache_path).glob("*.nbi"):
            if index.stat().st_mtime < newest:
                index.unlink()


#: What the float32 loops are made of.
SOURCES = (*Path(__file__).parent.glob("*.py"), Path(bitfields.__file__))
forget_stale_code(loops.f16, SOURCES)

#: Stored types that have loops of their own.
TYPES = ("f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k")

#: With more positions than this, BLAS on tiles is faster than one pass over the blocks for each.
MOST_POSITIONS = 4

#: If numba has no OpenMP, matrices with fewer numbers than this stay on one thread: waking another
#: takes as long as multiplying them.
_SMALL_WITHOUT_OPENMP = 4 * 1024 * 1024


class _Chosen(threading.local):
    """What this thread last set in numba; asking each time would cost as much as a small loop."""

    threads = 0


_chosen = _Chosen()

#: Functions that have been compiled, or loaded from disk, in this process.
_ready: set[Any] = set()


def matmul(x: np.ndarray, w: np.ndarray, threads: int = 1) -> np.ndarray:
    """Multiply every position by a stored matrix: x @ w.T.

    Args:
        x: (T, in_features) float32.
        w: (out_features, in_features / block_size), a view of any stored dtype, not copied.
        threads: the largest number of threads that share the rows.
    Returns:
        (T, out_features) float32, a new array.
    Raises:
        ShapeError: the two widths differ.
    """
    block = block_type_of(w)
    if block.name not in TYPES or not (w.flags.c_contiguous and w.dtype.isnative):
        return product.matmul(x, w, threads)
    product.check_widths(x, w, block)
    stored = _stored(w, block)
    if not stored.flags.aligned:
        return product.matmul(x, w, threads)
    if len(x) > MOST_POSITIONS:
        return by_tiles(x, w, threads, partial(_fill, block))
    if block.name == "f16":
        x = x * np.float32(loops.HALF_REBIAS)
    out = np.empty((len(x), len(w)), np.float32)
    loop = getattr(loops_k if block.name.endswith("_k") else loops, block.name)
    for t in range(len(x)):
        share(block.name, loop, getattr(shares, block.name), stored, x[t], out[t], threads)
    return out


def check(types: Iterable[str], threads: int, multiply: Matmul = matmul) -> None:
    """Compile, or load from disk, the loops for single positions of these types.

    Raises:
        RequestError: numba cannot compile here, or cannot keep or load what it compiled.
    """
    for name in sorted(types):
        block = BLOCK_TYPES[name]
        zeros = np.zeros((1, 1), block.dtype)
        try:
            multiply(np.zeros((1, block.block_size), np.float32), zeros, threads)
        except Exception as error:
            raise RequestError(
                f"kernels 'jit': numba cannot be used here ({type(error).__name__}: {error}); "
                f"choose kernels='numpy', or set NUMBA_CACHE_DIR to a folder that can be written"
            ) from None


def share(
    what: str,
    loop: Any,
    shared: Any,
    stored: np.ndarray,
    x: np.ndarray,
    out: np.ndarray,
    threads: int,
) -> None:
    """Multiply every row by x; small matrices stay on one thread.

    Args:
        what: the name of the loop in messages.
        loop: loop(stored, x, out, start, stop) computes these rows.
        shared: shared(stored, x, out, threads) does so on several threads of numba's.
    """
    if threads > 1 and _has_openmp():
        if _chosen.threads != threads:
            most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
            numba.set_num_threads(min(threads, most))
            _chosen.threads = threads
        call(what, shared, stored, x, out, threads)
    elif threads > 1 and len(stored) * x.size >= _SMALL_WITHOUT_OPENMP:
        call(what, loop, stored, x, out, 0, 0)
        run_shares(partial(loop, stored, x, out), len(stored), threads)
    else:
        call(what, loop, stored, x, out, 0, len(stored))


def _forget_threads() -> None:
    """After a fork: numba's OpenMP threads belong to the parent; using them would end the process.

    The child continues with Python threads.
    """
    if _has_openmp.cache_info().currsize:
        _has_openmp.cache_clear()
        _child.is_fork = True


class _Child:
    """Whether this process was forked from one in which numba's threads had started."""

    is_fork = False


_child = _Child()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


@cache
def _has_openmp() -> bool:
    """Whether numba's threads wait actively, so that sharing even a small matrix pays off.

    The fallback, workqueue, wakes its threads for each matrix and must not be called from two
    threads at once.
    """
    if _child.is_fork:
        return False
    numba.get_num_threads()  # starts them
    return numba.threading_layer() != "workqueue"


def _fill(block: BlockType, w: np.ndarray, tile: np.ndarray) -> None:
    """Turn rows of stored weights into float32, (rows, in_features)."""
    call(f"tiles of {block.name}", getattr(tiles, block.name), _stored(w, block), tile, 32)


def _stored(w: np.ndarray, block: BlockType) -> np.ndarray:
    """What the loops read: int16 for 16-bit floats, bytes for blocks; a view."""
    stored = w.view(np.int16 if block.block_size == 1 else np.uint8)
    if stored.flags.writeable:
        stored.flags.writeable = False  # one compiled form for views and copies
    return stored


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
