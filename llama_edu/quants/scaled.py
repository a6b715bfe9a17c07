"""ScaledArray: int8 numbers with their scales in a separate run, as in llama2.c's version 2.

Every other quantized type stores a scale next to the numbers that it multiplies, so one numpy dtype
describes it. Here all numbers of a matrix come first and all scales after them. A ScaledArray is
the pair of views. It has what the program needs of a stored array: a dtype, a shape, rows that can
be selected, and float32 numbers by `blocks.dequantize`. Groups run through the whole matrix: if a
row is not a multiple of a group, a group begins in one row and ends in the next.
Source: `version2_export` in export.py of karpathy/llama2.c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

#: The dtype that identifies this stored type; the numbers themselves are plain int8.
I8_SCALED = np.dtype([("i8_scaled", "i1")])


class ScaledArray:
    """A matrix of int8 numbers, or some of its rows, with the scales of the whole matrix.

    Args:
        numbers: (n_rows, n_columns) int8.
        scales: (n_groups,) float32, one for each `group_size` numbers of the whole matrix.
        rows: which rows of the matrix `numbers` are; None for all, in order.

    `numbers` and `scales` are kept as given: views stay views.
    """

    dtype = I8_SCALED
    ndim = 2

    def __init__(
        self,
        numbers: np.ndarray,
        scales: np.ndarray,
        group_size: int,
        rows: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        self.numbers = numbers
        self.scales = scales
        self.group_size = group_size
        self._rows = range(len(numbers)) if rows is None else rows

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_rows, n_columns)."""
        return self.numbers.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers and of the scales that belong to them."""
        return self.numbers.nbytes + self.numbers.size * self.scales.itemsize // self.group_size

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: slice | np.ndarray) -> ScaledArray:
        """Some rows: views for a slice, a copy of the numbers for an array of indices."""
        chosen = self._rows[rows] if isinstance(rows, slice) else np.asarray(self._rows)[rows]
        return ScaledArray(self.numbers[rows], self.scales, self.group_size, chosen)

    def dequantize_into(self, out: np.ndarray) -> None:
        """Write the numbers times their scales into (n_rows, n_columns) float32."""
        n_columns = self.numbers.shape[1]
        run = math.gcd(n_columns, self.group_size)  # no row or group ends inside such a run
        runs_per_row = n_columns // run
        first_run = np.asarray(self._rows, np.int64)[:, None] * runs_per_row
        groups = (first_run + np.arange(runs_per_row)) * run // self.group_size
        np.multiply(
            self.numbers.reshape(len(self), runs_per_row, run),
            self.scales[groups][:, :, None],
            out=out.reshape(len(self), runs_per_row, run),
            dtype=np.float32,
        )
