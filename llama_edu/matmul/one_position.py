"""One position times stored weights in numpy, with fewer passes than a conversion to float32.

With one position (decode), every weight is used once, and converting it to float32 takes most of
the time. So quantized codes are converted without their scales, BLAS adds up code * x within each
group, and the scale multiplies the sum: one multiplication for 16 or 32 weights. 16-bit floats are
shifted and masked two at a time, as the 32-bit word they form. tiles.py is the simpler sibling.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from llama_edu.matmul.threads import run_shares
from llama_edu.matmul.workspace import scratch
from llama_edu.quants.bitfields import HALF_BITS, Groups, has_infinity_or_nan
from llama_edu.quants.blocks import BlockType

#: Numbers converted at a time, 4 MiB of float32. A quarter of it, which fits a core's own cache,
#: costs a fifth of the speed on one thread and half on two: numpy's calls are then so short that
#: the threads keep meeting at Python's lock.
TILE_NUMBERS = 1024 * 1024

#: With fewer numbers per thread than this, waking a thread costs more than it saves.
NUMBERS_PER_THREAD = 512 * 1024

#: Groups in one BLAS product. At this size, time depends on the number of products only.
_GROUPS_TOGETHER = 4

#: A float16's bits in their place in a float32 give 2^-112 of its value; x and the sum each
#: contribute 2^56.
_HALF_REBIAS = np.float32(2.0**56)


def can_multiply(w: np.ndarray, block: BlockType) -> bool:
    """Whether `multiply` handles this type; 16-bit floats must be readable two at a time."""
    if block.unpack is not None:
        return True
    return (
        block.name in ("f16", "bf16")
        and w.dtype == w.dtype.newbyteorder("<")
        and w.flags.c_contiguous
        and w.shape[1] % 2 == 0
        and w.ctypes.data % 4 == 0
    )


def multiply(x: np.ndarray, w: np.ndarray, block: BlockType, threads: int) -> np.ndarray:
    """One position times every row: w @ x.

    Args:
        x: (in_features,) float32.
        w: (out_features, in_features / block_size) for which `can_multiply` is true; not copied.
        threads: the largest number of threads that share the rows.
    Returns:
        (out_features,) float32, a new array.
    """
    out = np.empty(len(w), np.float32)
    unpack = block.unpack
    product = _of_pairs(x, block.name) if unpack is None else _of_groups(x, unpack)
    rows_per_tile = max(1, TILE_NUMBERS // len(x))

    def multiply_rows(start: int, stop: int) -> None:
        # a damaged file may hold scales that overflow: infinities and NaNs are then its real values
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(start, stop, rows_per_tile):
                last = min(first + rows_per_tile, stop)
                product(w[first:last], out[first:last])

    threads = min(threads, len(w) * len(x) // NUMBERS_PER_THREAD)
    if threads < 2:
        multiply_rows(0, len(w))
    else:
        run_shares(multiply_rows, len(w), threads, -(-NUMBERS_PER_THREAD // len(x)))
    return out


def _of_groups(
    x: np.ndarray, unpack: Callable[[np.ndarray], Groups]
) -> Callable[[np.ndarray, np.ndarray], None]:
    """A function that multiplies rows of quantized blocks by x."""

    def product(rows: np.ndarray, out: np.ndarray) -> None:
        codes, scales, minimums = unpack(rows)
        group_size = codes.shape[-1]
        n_groups = len(x) // group_size
        n_together = math.gcd(n_groups, _GROUPS_TOGETHER)
        width = n_together * group_size
        columns = scratch("columns", (len(rows), n_groups // n_together, width))
        columns[...] = codes.reshape(columns.shape)
        # the sum of every group; each BLAS product gives `n_together` of them for all rows
        sums = scratch("sums", (len(rows), n_groups // n_together, n_together))
        np.matmul(
            columns.transpose(1, 0, 2),
            _side_by_side(x, group_size, n_together),
            out=sums.transpose(1, 0, 2),
        )
        shape = (len(rows), n_groups)
        np.einsum("rg,rg->r", scales.reshape(shape), sums.reshape(shape), out=out)
        if minimums is not None:
            out += minimums.reshape(shape) @ x.reshape(n_groups, -1).sum(axis=1)

    return product


def _side_by_side(x: np.ndarray, group_size: int, n_together: int) -> np.ndarray:
    """Columns that each hold one group of x and are zero elsewhere.

    Returns:
        (n_spans, n_together * group_size, n_together) float32.
    """
    groups = x.reshape(-1, n_together, group_size)
    columns = np.zeros((len(groups), n_together, group_size, n_together), np.float32)
    for g in range(n_together):
        columns[:, g, :, g] = groups[:, g]
    return columns.reshape(len(groups), -1, n_together)


def _of_pairs(x: np.ndarray, name: str) -> Callable[[np.ndarray, np.ndarray], None]:
    """A function that multiplies rows of f16 or bf16 by x; the lower halves are columns 0, 2 ..."""
    is_f16 = name == "f16"
    even, odd = np.ascontiguousarray(x.reshape(-1, 2).T) * (
        _HALF_REBIAS if is_f16 else np.float32(1)
    )

    def product(rows: np.ndarray, out: np.ndarray) -> None:
        if is_f16 and has_infinity_or_nan(rows):  # the bit shift does not handle their exponent
            np.matmul(rows.astype(np.float32), x, out=out)
            return
        pairs = rows.view(np.int32)
        bits = scratch("bits", pairs.shape, np.int32)
        if is_f16:
            np.right_shift(pairs, 3, out=bits)
            bits &= HALF_BITS
        else:
            np.bitwise_and(pairs, -0x10000, out=bits)
        np.matmul(bits.view(np.float32), odd, out=out)
        np.left_shift(pairs, 16, out=bits)
        if is_f16:
            bits >>= 3
            bits &= HALF_BITS
        out += bits.view(np.float32) @ even
        if is_f16:
            out *= _HALF_REBIAS

    return product
