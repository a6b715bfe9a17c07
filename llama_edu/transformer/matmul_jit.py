"""x @ w.T for stored weights, compiled by numba: the fast sibling of matmul.py.

For one position (decode) each stored type has a loop that reads the blocks where they lie and keeps
as many sums side by side as a block has columns, so that the compiler can use vector registers; the
float32 weights never exist in memory. For many positions (prefill) converting tiles for BLAS is
already as fast, so that is left to matmul.py.

Needs the extra `jit`. The machine code of each type is compiled once and kept on disk.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import Any

import numpy as np

from llama_edu.errors import RequestError, ShapeError
from llama_edu.files.blocks import block_type_of
from llama_edu.transformer import matmul as clear
from llama_edu.transformer.threads import run_shares

try:
    from llama_edu.transformer import jit_loops
except ImportError as error:
    raise RequestError(
        f"kernels 'jit' need numba, which is not installed ({error}); "
        "run: pip install 'llama-edu[jit]', or choose kernels='numpy'"
    ) from None

#: With more positions than this, BLAS on converted tiles beats one pass over the blocks for each.
MOST_POSITIONS = 3

#: Matrices with fewer numbers than this are not worth a second thread: to wake one takes as long as
#: to multiply them.
_SMALL = 4 * 1024 * 1024

#: Types whose loop is compiled or loaded in this process already.
_ready: set[str] = set()


def matmul(x: np.ndarray, w: np.ndarray, threads: int = 1) -> np.ndarray:
    """Multiply every position by a stored matrix: x @ w.T.

    Args:
        x: (T, in_features) float32.
        w: (out_features, in_features / block_size), a view of any stored dtype, not copied.
        threads: cores that share the rows.
    Returns:
        (T, out_features) float32, a new array.
    Raises:
        ShapeError: the two widths differ.
    """
    block = block_type_of(w)
    loop = jit_loops.LOOPS.get(block.name)
    if len(x) > MOST_POSITIONS or loop is None or not _readable(w):
        return clear.matmul(x, w, threads)
    in_features = w.shape[1] * block.block_size
    if x.shape[1] != in_features:
        raise ShapeError(f"matmul: x has {x.shape[1]} features, expected {in_features}")
    out = np.empty((len(x), len(w)), np.float32)
    stored = w.view(jit_loops.UNITS.get(block.name, np.dtype(np.uint8)))
    stored.flags.writeable = False  # one compiled form for views and copies
    if block.name not in _ready:
        _make_ready(block.name, loop, stored, in_features)
    for t in range(len(x)):
        row, sums = jit_loops.prepare(x[t], block.name)
        if threads == 1 or in_features * len(w) < _SMALL:
            loop(stored, row, sums, out[t], 0, len(w))
        else:
            run_shares(partial(loop, stored, row, sums, out[t]), len(w), threads)
    return out


def _readable(w: np.ndarray) -> bool:
    """Whether the loops can read `w` where it lies: rows in order, little-endian, aligned pairs."""
    if not (w.flags.c_contiguous and w.dtype == w.dtype.newbyteorder("<")):
        return False
    return w.dtype.itemsize > 2 or (w.shape[1] % 2 == 0 and w.ctypes.data % 4 == 0)


def _make_ready(name: str, loop: Any, stored: np.ndarray, in_features: int) -> None:
    """Compile a loop, or load it from disk; say so where somebody may be waiting."""
    x, sums = jit_loops.prepare(np.zeros(in_features, np.float32), name)
    start = time.perf_counter()
    if sys.stderr.isatty():
        print(f"loading the loop for {name}; compiling it takes a few seconds, once ...", end="",
              file=sys.stderr, flush=True)  # fmt: skip
    loop(stored, x, sums, np.empty(1, np.float32), 0, 0)
    if sys.stderr.isatty():
        compiled = "from disk" if loop.stats.cache_hits else "compiled"
        print(f" {compiled}, {time.perf_counter() - start:.1f} s", file=sys.stderr)
    _ready.add(name)
