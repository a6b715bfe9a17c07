"""TransposedBlocks: a quantized matrix whose blocks run along its first axis.

A block holds neighbors of one row everywhere else. A matrix that is stored transposed, so that each
of its columns can be read by itself, has blocks of neighbors in one column; numpy has no view that
turns those round. This is the matrix as its users expect it: a dtype that tells it apart, a shape,
rows that can be selected, and float32 numbers by `blocks.dequantize`.
"""

from __future__ import annotations

import numpy as np

#: The dtype that identifies it; the blocks have their own.
TRANSPOSED = np.dtype([("transposed", "u1")])


class TransposedBlocks:
    """A matrix, or a run of its rows, whose columns are stored as rows of blocks.

    Args:
        stored: (n_columns, n_rows / block_size) of a quantized dtype; kept as given.
        rows: which rows of the matrix these are; None for all. Their blocks may hold others too.
        block_size: numbers per block of that dtype.
    """

    dtype = TRANSPOSED
    ndim = 2

    def __init__(self, stored: np.ndarray, block_size: int, rows: range | None = None) -> None:
        self.stored = stored
        self.block_size = block_size
        self._rows = range(stored.shape[1] * block_size) if rows is None else rows

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_columns)."""
        return len(self._rows), len(self.stored)

    @property
    def nbytes(self) -> int:
        """Bytes of the blocks that hold a number of these rows."""
        return len(self.stored) * len(self._columns_of_blocks) * self.stored.dtype.itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> TransposedBlocks:
        """Some rows that follow each other: a view."""
        return TransposedBlocks(self.stored, self.block_size, self._rows[rows])

    @property
    def _columns_of_blocks(self) -> range:
        start, stop = self._rows.start, self._rows.stop
        if start >= stop:
            return range(0)
        return range(start // self.block_size, -(-stop // self.block_size))

    def blocks_of(self, columns: slice) -> tuple[np.ndarray, slice]:
        """The blocks that hold these columns, one row each, and where in their numbers ours are."""
        blocks = self._columns_of_blocks
        first = self._rows.start - blocks.start * self.block_size
        return self.stored[columns, blocks.start : blocks.stop], slice(first, first + len(self))
