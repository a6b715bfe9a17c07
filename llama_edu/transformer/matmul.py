"""x @ w.T for weights as they are stored, with never a float32 copy of a whole matrix.

float32 weights go to BLAS as they lie in the file. Every other type is turned into float32 a tile
of rows at a time, in a buffer that stays in a core's own cache, and each tile goes to BLAS while it
is there. One position (decode) and many (prefill) are the same code.
"""

from __future__ import annotations

import numpy as np

from llama_edu.errors import ShapeError
from llama_edu.files.blocks import block_type_of, dequantize_into
from llama_edu.transformer.threads import can_control_blas, run_shares

#: Bytes of the float32 tile. Measured on cores with 1 MiB of cache each: 512 KiB is best for many
#: positions; half of it costs a fifth of the speed, four times as much a third.
TILE_BYTES = 512 * 1024

#: Fewer positions than this are not worth a second thread: converting is then most of the work, in
#: steps so short that the threads spend their time waiting for each other at Python's lock.
_FEW_POSITIONS = 16


def matmul(x: np.ndarray, w: np.ndarray, threads: int = 1) -> np.ndarray:
    """Multiply every position by a stored matrix: x @ w.T.

    Args:
        x: (T, in_features) float32.
        w: (out_features, in_features / block_size), a view of any stored dtype, not copied.
        threads: cores that convert and multiply tiles; float32 is left to BLAS's own threads.
    Returns:
        (T, out_features) float32, a new array.
    Raises:
        ShapeError: the two widths differ.
    """
    in_features = w.shape[1] * block_type_of(w).block_size
    if x.shape[1] != in_features:
        raise ShapeError(f"matmul: x has {x.shape[1]} features, expected {in_features}")
    if blas_can_read(w):
        return x @ w.T
    out = np.empty((len(x), len(w)), np.float32)
    rows_per_tile = max(1, TILE_BYTES // (4 * in_features))

    def multiply_rows(start: int, stop: int) -> None:
        tile = np.empty((min(rows_per_tile, stop - start), in_features), np.float32)
        for first in range(start, stop, rows_per_tile):
            last = min(first + rows_per_tile, stop)
            rows = tile[: last - first]
            dequantize_into(w[first:last], rows)
            np.matmul(x, rows.T, out=out[:, first:last])

    if threads == 1 or len(x) < _FEW_POSITIONS or not can_control_blas():
        multiply_rows(0, len(w))
    else:
        run_shares(multiply_rows, len(w), threads)
    return out


def blas_can_read(w: np.ndarray) -> bool:
    """Whether numpy hands `w` to BLAS in place; otherwise it would copy the whole matrix first."""
    return w.dtype == np.float32 and w.dtype.isnative and w.flags.aligned and w.flags.c_contiguous
