"""x @ w.T for stored weights, compiled by numba: the fast sibling of matmul/product.py.

For a few positions (decode), each type in TYPES has a loop that reads the blocks in place; the
float32 weights never exist in memory. For many (prefill), BLAS multiplies tiles, as in
matmul/tiles.py, but compiled code fills the tiles in a single pass. Other types go to
matmul/product.py.

Needs the extra `jit`. The machine code of each type is compiled once and kept on disk, see
machine_code.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import product as product_of
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

    from llama_edu.matmul.jit import loops, loops_k, tiles
    from llama_edu.matmul.jit.machine_code import call, forget_stale_code
    from llama_edu.matmul.jit.progress import steps
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


#: What the float32 loops are made of.
SOURCES = (*Path(__file__).parent.glob("*.py"), Path(bitfields.__file__))
forget_stale_code(loops.f16, SOURCES)

#: Stored types that have loops of their own.
TYPES = ("f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k")

#: With more positions than this, BLAS on tiles is faster than one pass over the blocks for each.
MOST_POSITIONS = 4

#: As many as the loops for prompts need.
_MANY_POSITIONS = MOST_POSITIONS + 1

#: Products of single numbers below which waking a thread takes longer than computing them.
WORTH_WAKING = 4 * 1024 * 1024

#: Products of single numbers that a thread computes at a time, at least: some 20 microseconds.
_SMALLEST = 256 * 1024


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
        return by_tiles(x, w, threads, partial(fill, block))
    if block.name == "f16":
        x = x * np.float32(loops.HALF_REBIAS)
    out = np.empty((len(x), len(w)), np.float32)
    loop = getattr(loops_k if block.name.endswith("_k") else loops, block.name)
    for t in range(len(x)):
        share(block.name, loop, stored, x[t], out[t], threads)
    return out


def check(types: Iterable[str], threads: int, multiply: Matmul = matmul) -> None:
    """Compile, or load from disk, the loops for single positions and for prompts of these types.

    Raises:
        RequestError: numba cannot compile here.
    """
    names = sorted(types)
    with steps(f"the loops for {', '.join(names)}", 2 * len(names)) as next_step:
        for name, n_positions in product_of(names, (1, _MANY_POSITIONS)):
            next_step()
            block = BLOCK_TYPES[name]
            zeros = np.zeros((16, 1), block.dtype)
            try:
                multiply(np.zeros((n_positions, block.block_size), np.float32), zeros, threads)
            except Exception as error:
                raise RequestError(
                    f"kernels 'jit': numba cannot be used here ({type(error).__name__}: {error}); "
                    f"choose kernels='numpy'"
                ) from None


def share(
    what: str, loop: Any, stored: np.ndarray, x: np.ndarray, out: np.ndarray, threads: int
) -> None:
    """Multiply every row by x, and share the rows of large matrices among threads.

    Args:
        what: the name of the loop in messages.
        loop: loop(stored, x, out, start, stop) computes these rows.
    """
    if threads == 1 or out.size * x.size < WORTH_WAKING:
        call(what, loop, stored, x, out, 0, len(stored))
    else:
        call(what, loop, stored, x, out, 0, 0)
        smallest = max(1, _SMALLEST * len(stored) // (out.size * x.size))
        run_shares(partial(loop, stored, x, out), len(stored), threads, smallest)


def fill(block: BlockType, w: np.ndarray, tile: np.ndarray) -> None:
    """Turn rows of stored weights of a type in TYPES into float32, (rows, in_features)."""
    call(f"tiles of {block.name}", getattr(tiles, block.name), _stored(w, block), tile, 32)


def _stored(w: np.ndarray, block: BlockType) -> np.ndarray:
    """What the loops read: int16 for 16-bit floats, bytes for blocks; a view."""
    stored = w.view(np.int16 if block.block_size == 1 else np.uint8)
    if stored.flags.writeable:
        stored.flags.writeable = False  # one compiled form for views and copies
    return stored
