"""x @ w.T for stored weights, compiled by numba: the fast sibling of matmul/product.py.

For a few positions (decode), each type in TYPES has a loop that reads the blocks in place; the
float32 weights never exist in memory. For many (prefill), positions are laid side by side and
multiplied by float32, or by a few rows that became float32: panels/. On processors without fused
multiplications BLAS does that, as in matmul/tiles.py, but compiled code fills the tiles in a single
pass. Other types go to matmul/product.py.

Needs the extra `jit`. The machine code of each type is compiled once and kept on disk, see
machine_code.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import product as product_of
from pathlib import Path

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.matmul import product
from llama_edu.matmul.product import Matmul, SharedInput
from llama_edu.matmul.tiles import by_tiles
from llama_edu.quants import bitfields
from llama_edu.quants.blocks import BLOCK_TYPES, BlockType, block_type_of

try:
    import numba

    from llama_edu.matmul.jit import few, loops, tiles
    from llama_edu.matmul.jit.machine_code import call, forget_stale_code
    from llama_edu.matmul.jit.panels import jobs, positions
    from llama_edu.matmul.jit.panels import product as panels
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
SOURCES = (*Path(__file__).parent.rglob("*.py"), Path(bitfields.__file__))
forget_stale_code(loops.f16, SOURCES)
forget_stale_code(positions.to_f16, SOURCES)

#: Stored types that have loops of their own.
TYPES = few.FLOAT_TYPES

#: As many as the loops for prompts need.
_MANY_POSITIONS = few.MOST_POSITIONS + 1


def _one(x: np.ndarray, w: np.ndarray, threads: int = 1) -> np.ndarray:
    """Multiply every position by a stored matrix: x @ w.T.

    Args:
        x: (T, in_features) float32.
        w: (out_features, in_features / block_size), a view of any stored dtype, not copied.
        threads: the largest number of threads that share the rows.
    Returns:
        (T, out_features) float32, a new array or a view of one.
    Raises:
        ShapeError: the two widths differ.
    """
    block = block_type_of(w)
    if len(x) > few.MOST_POSITIONS and has_tiles(w, block):
        return _several(x, [w], threads)[0]
    if block.name not in TYPES or not _is_readable(w, block):
        return product.matmul(x, w, threads)
    product.check_widths(x, w, block)
    if len(x) > few.MOST_POSITIONS:
        return by_tiles(x, w, threads, partial(fill, block))
    kernel = few.kernel_of(w, "float32")
    if kernel is None:
        return product.matmul(x, w, threads)
    return few.multiply(x, w, kernel, threads)


def _several(x: np.ndarray, matrices: Sequence[np.ndarray], threads: int) -> list[np.ndarray]:
    """The same for several matrices; x is laid side by side once for those that have tiles."""
    blocks = [block_type_of(w) for w in matrices]
    with_tiles = [
        len(x) > few.MOST_POSITIONS and has_tiles(w, block)
        for w, block in zip(matrices, blocks, strict=True)
    ]
    results, work = [], []
    laid = panels.side_by_side(x, "float32") if any(with_tiles) else x
    for w, block, by_panels in zip(matrices, blocks, with_tiles, strict=True):
        product.check_widths(x, w, block)
        if by_panels:
            out, wanted = panels.results(len(x), len(w))
            work.append(float_job(laid, w, block, out))
            results.append(wanted)
        else:
            results.append(_one(x, w, threads))
    jobs.run(work, threads)
    return results


#: x @ w.T, and for several matrices with one x.
matmul = SharedInput(_one, _several)


def has_tiles(w: np.ndarray, block: BlockType) -> bool:
    """Whether panels/ multiplies such a matrix."""
    known = block.name in TYPES or block.name == "f32"
    return known and panels.can_multiply(len(w)) and _is_readable(w, block)


def _is_readable(w: np.ndarray, block: BlockType) -> bool:
    """Whether compiled code can read a matrix where it lies."""
    return w.flags.c_contiguous and w.dtype.isnative and stored_numbers(w, block).flags.aligned


def float_job(x: np.ndarray, w: np.ndarray, block: BlockType, out: np.ndarray) -> jobs.Job:
    """The product of panels of float32 with a matrix that has tiles.

    Args:
        x: from panels.side_by_side. out: (padded T, out_features) float32, filled by the job.
    """
    if block.name == "f32":
        return panels.float32_job(x, stored_numbers(w, block), out)
    return panels.filled_job(x, w, w.shape[1] * block.block_size, out, partial(fill, block))


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


def fill(block: BlockType, w: np.ndarray, tile: np.ndarray) -> None:
    """Turn rows of stored weights into float32, (rows, in_features)."""
    loop, stored = getattr(tiles, block.name), stored_numbers(w, block)
    call(f"tiles of {block.name}", loop, stored, tile, 32)


def stored_numbers(w: np.ndarray, block: BlockType) -> np.ndarray:
    """What the loops read: float32, int16 for 16-bit floats, bytes for blocks; a view."""
    if block.name == "f32":
        stored = w.view()
    else:
        stored = w.view(np.int16 if block.block_size == 1 else np.uint8)
    stored.flags.writeable = False  # one compiled form for views and copies
    return stored
