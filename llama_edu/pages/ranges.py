"""Which bytes of the file hold some rows or columns of a tensor, however it is stored."""

from __future__ import annotations

import math

import numpy as np

from llama_edu.files.layout import TensorSpec


def tensor_ranges(
    spec: TensorSpec, axis: int | None = None, ids: np.ndarray | None = None
) -> np.ndarray:
    """Byte ranges of a tensor, or of those blocks of it that hold some indices along one axis.

    A tensor in C order is one range, and each of its rows another. What is stored transposed, or
    with other bytes in between, has one for each run of neighboring numbers, down to single ones.

    Args:
        spec: of a tensor whose scales lie in its blocks (`group_size` is 0).
        axis: of `spec.shape`. ids: (n,) int64 indices along it, each in range.
    Returns:
        (n_ranges, 2) int64: first byte of the file and number of bytes, none twice.
    """
    shape, size = spec.stored_shape, spec.dtype.itemsize
    if 0 in shape or (ids is not None and len(ids) == 0):
        return np.empty((0, 2), np.int64)
    chosen = None
    if axis is not None and ids is not None:
        axis = len(shape) - 1 - axis if spec.transposed else axis
        per_block = spec.block_size if axis == len(shape) - 1 else 1
        chosen = np.unique(ids // per_block)
    starts, run = np.zeros(1, np.int64), size
    for i in reversed(range(len(shape))):
        step = spec.strides[i] if spec.strides else size * math.prod(shape[i + 1 :])
        if i == axis and chosen is not None:
            starts = np.unique(starts[:, None] + step * chosen)
        elif step == run:
            run *= shape[i]
        else:
            starts = np.unique(starts[:, None] + step * np.arange(shape[i]))
    return np.stack([spec.offset + starts, np.full(len(starts), run)], axis=1)


def own_ranges(spec: TensorSpec) -> np.ndarray:
    """(n, 2) int64 byte ranges of a tensor: one, or several where others lie between its rows."""
    if spec.own_bytes == spec.n_bytes:
        return np.array([(spec.offset, spec.n_bytes)], np.int64)
    return tensor_ranges(spec)


def scale_ranges(spec: TensorSpec, rows: np.ndarray) -> np.ndarray:
    """Byte ranges of the scales of some rows, which are stored after all numbers of the matrix.

    Args:
        spec: of a matrix with `group_size`. rows: (n,) int64, each in range.
    Returns:
        (n, 2) int64, as those of tensor_ranges().
    """
    first = rows * spec.shape[1] // spec.group_size
    stop = -(-(rows + 1) * spec.shape[1] // spec.group_size)
    return np.stack([spec.offset + spec.n_elements + 4 * first, 4 * (stop - first)], axis=1)
