"""Many positions times stored weights: a tile of rows becomes float32, BLAS multiplies it.

The tile stays in the cache between the two steps, so no float32 copy of a whole matrix ever exists.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llama_edu.matmul.blas import can_control_blas
from llama_edu.matmul.threads import FEW_POSITIONS, run_shares, worth
from llama_edu.matmul.workspace import scratch

#: Bytes of the float32 tile. Measured on cores with 1 MiB of cache each, with numpy converting 256
#: Ki numbers per call: sizes from 512 KiB to 4 MiB are within a tenth of each other.
TILE_BYTES = 2 * 1024 * 1024

#: Rows and numbers that a thread takes at a time, if that leaves enough for all: BLAS prepares x
#: for each product again, and short steps in numpy keep the threads waiting for Python's lock.
#: Half of a thread's share is a thirtieth faster than a sixth of it.
SMALLEST_ROWS, SMALLEST_NUMBERS = 256, 128 * 1024


def by_tiles(
    x: np.ndarray,
    w: np.ndarray,
    threads: int,
    fill: Callable[[np.ndarray, np.ndarray], object],
) -> np.ndarray:
    """Multiply a tile of rows at a time: x @ w.T.

    Args:
        x: (T, in_features) float32. w: (out_features, ...) of any stored dtype, not copied.
        threads: the largest number of threads, used if there are enough positions.
        fill: fill(rows of w, tile) writes (rows, in_features) float32 into the tile.
    Returns:
        (T, out_features) float32, a new array.
    """
    in_features = x.shape[1]
    out = np.empty((len(x), len(w)), np.float32)
    rows_per_tile = max(1, TILE_BYTES // (4 * in_features))

    def multiply_rows(start: int, stop: int) -> None:
        for first in range(start, stop, rows_per_tile):
            last = min(first + rows_per_tile, stop)
            rows = scratch("tile", (last - first, in_features))
            fill(w[first:last], rows)
            # a tenth faster than x @ rows.T, copy included
            products = np.matmul(rows, x.T, out=scratch("tile @ x.T", (last - first, len(x))))
            out[:, first:last] = products.T

    threads = worth(threads, len(w) * in_features, SMALLEST_NUMBERS / 2)
    if threads == 1 or len(x) < FEW_POSITIONS or not can_control_blas():
        multiply_rows(0, len(w))
    else:
        smallest = max(SMALLEST_ROWS, SMALLEST_NUMBERS // in_features, len(w) // (2 * threads))
        run_shares(multiply_rows, len(w), threads, smallest)
    return out
