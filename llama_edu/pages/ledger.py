"""Ledger: what the forward pass reports that it reads, as byte ranges and the pages they touch.

No instrument is involved: this is the prediction that a measurement is compared with, and the only
answer on a machine where nothing can be measured. It is right if the code that writes to it reports
every read correctly, which tests check page by page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.files.layout import TensorSpec
from llama_edu.pages.arithmetic import ByteRange, pages_of


class Ledger:
    """A record of what was requested, in order.

    Args:
        tensors: name -> TensorSpec of one file.
        page_size: bytes of a page.
        n_pages: pages of the file.

    `ranges` lists (first byte, number of bytes); repeated requests are kept only once.
    """

    def __init__(self, tensors: Mapping[str, TensorSpec], page_size: int, n_pages: int) -> None:
        self._tensors = tensors
        self._page_size = page_size
        self._n_pages = n_pages
        self._ranges: dict[ByteRange, None] = {}

    def whole(self, name: str) -> None:
        """Every number of this tensor is read."""
        spec = self._spec(name)
        if spec.group_size:  # the scales follow the numbers at once
            self._ranges[spec.offset, spec.n_bytes] = None
            return
        self._ranges.update(dict.fromkeys(_element_ranges(spec, np.zeros(1, np.int64), axes=0)))

    def rows(self, name: str, rows: Sequence[int]) -> None:
        """These rows (indices along the first axis) are read, and no others.

        Raises RequestError for a row that the tensor does not have. Negative indices are refused:
        numpy would count them from the end, and a prediction must not guess.
        """
        spec = self._spec(name)
        chosen = np.unique(np.asarray(rows, np.int64))
        if chosen.size and not (chosen[0] >= 0 and chosen[-1] < spec.shape[0]):
            wrong = chosen[0] if chosen[0] < 0 else chosen[-1]
            raise RequestError(f"{name}: row {wrong}, expected 0 to {spec.shape[0] - 1}")
        step = spec.strides[0] if spec.strides else math.prod(spec.stored_shape[1:])
        self._ranges.update(dict.fromkeys(_element_ranges(spec, chosen * step, axes=1)))
        if spec.group_size:
            self._ranges.update(dict.fromkeys(_scale_ranges(spec, chosen)))

    @property
    def ranges(self) -> tuple[ByteRange, ...]:
        """All requests so far: (first byte, number of bytes), in the order of first request."""
        return tuple(self._ranges)

    @property
    def n_bytes(self) -> int:
        """Bytes requested; a range that was requested twice counts once."""
        return sum(n for _, n in self._ranges)

    def pages(self) -> np.ndarray:
        """(n_pages,) bool: the pages that hold at least one requested byte."""
        return pages_of(self._ranges, self._n_pages, self._page_size)

    def clear(self) -> None:
        """Forget everything, as at the start of a record."""
        self._ranges.clear()

    def _spec(self, name: str) -> TensorSpec:
        try:
            return self._tensors[name]
        except KeyError:
            raise RequestError(
                f"{name}: no such tensor in this file, expected one of {len(self._tensors)} names; "
                f"was the model loaded from the file that the lab maps?"
            ) from None

    def __repr__(self) -> str:
        return f"Ledger({len(self._ranges):,} ranges, {self.n_bytes:,} bytes)"


def _scale_ranges(spec: TensorSpec, rows: np.ndarray) -> list[ByteRange]:
    """Byte ranges of the scales of some rows, which are stored after all numbers of the matrix."""
    row_length = spec.shape[1]
    ranges = []
    for row in rows.tolist():
        first = row * row_length // spec.group_size
        stop = -(-(row + 1) * row_length // spec.group_size)
        ranges.append((spec.offset + spec.n_elements + 4 * first, 4 * (stop - first)))
    return ranges


def _element_ranges(spec: TensorSpec, starts: np.ndarray, *, axes: int) -> list[ByteRange]:
    """Byte ranges of the sub-arrays that begin at element `starts`, along all axes from `axes` on.

    A tensor in C order gives one range per start; one that is stored transposed gives one range
    for each run of neighboring numbers, down to single numbers.
    """
    size = spec.dtype.itemsize
    run = 1
    for axis in reversed(range(axes, len(spec.stored_shape))):
        length = spec.stored_shape[axis]
        step = spec.strides[axis] if spec.strides else run
        if length == 0:
            return []
        if step == run:
            run *= length
        else:
            starts = np.unique(starts[:, None] + step * np.arange(length))
    return [(spec.offset + int(start) * size, run * size) for start in starts]
