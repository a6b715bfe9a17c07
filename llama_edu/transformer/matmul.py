"""x @ w.T for weights as they are stored, with never a float32 copy of a whole matrix.

float32 weights go to BLAS as they lie in the file. Every other type is turned into float32 a tile
of rows at a time, in a buffer that stays in the processor's cache, and each tile goes to BLAS.
"""

from __future__ import annotations

import numpy as np

from llama_edu.errors import ShapeError
from llama_edu.files.blocks import block_type_of, dequantize

#: Bytes of the float32 tile. Small enough for a core's own cache, large enough for BLAS.
TILE_BYTES = 256 * 1024


def matmul(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Multiply every position by a stored matrix: x @ w.T.

    Args:
        x: (T, in_features) float32.
        w: (out_features, in_features / block_size), a view of any stored dtype, not copied.
    Returns:
        (T, out_features) float32, a new array.
    Raises:
        ShapeError: the two widths differ.
    """
    block = block_type_of(w)
    in_features = w.shape[1] * block.block_size
    if x.shape[1] != in_features:
        raise ShapeError(f"matmul: x has {x.shape[1]} features, expected {in_features}")
    if _blas_can_read(w):
        return x @ w.T
    out = np.empty((len(x), len(w)), np.float32)
    rows_per_tile = max(1, TILE_BYTES // (4 * in_features))
    for start in range(0, len(w), rows_per_tile):
        tile = dequantize(w[start : start + rows_per_tile])
        np.matmul(x, tile.T, out=out[:, start : start + len(tile)])
    return out


def _blas_can_read(w: np.ndarray) -> bool:
    """Whether numpy hands `w` to BLAS in place; otherwise it would copy the whole matrix first."""
    return w.dtype == np.float32 and w.dtype.isnative and w.flags.aligned and w.flags.c_contiguous
