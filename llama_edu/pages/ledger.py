"""Ledger: what the forward pass reports that it reads, as byte ranges and the pages they touch.

No instrument is involved: this is the prediction that a measurement is compared with, and the only
answer on a machine where nothing can be measured. It is right if the code that writes to it reports
every read correctly, which tests check page by page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.files.layout import TensorSpec
from llama_edu.pages.arithmetic import ByteRange, pages_of
from llama_edu.pages.ranges import scale_ranges, tensor_ranges


class Ledger:
    """A record of what was requested, in order.

    Args:
        tensors: name -> TensorSpec of one file.
        page_size: bytes of a page.
        n_pages: pages of the file.
    """

    def __init__(self, tensors: Mapping[str, TensorSpec], page_size: int, n_pages: int) -> None:
        self._tensors = tensors
        self._page_size = page_size
        self._n_pages = n_pages
        #: What was asked for -> its ranges, (n, 2) int64; hundreds of thousands for some columns.
        self._requests: dict[tuple[str, str, bytes], np.ndarray] = {}

    def whole(self, name: str) -> None:
        """Every number of this tensor is read."""
        spec = self._spec(name)
        if spec.group_size:  # the scales follow the numbers at once
            self._requests[name, "whole", b""] = np.array([[spec.offset, spec.n_bytes]])
        else:
            self._requests[name, "whole", b""] = tensor_ranges(spec)

    def rows(self, name: str, rows: Sequence[int] | np.ndarray) -> None:
        """These rows (indices along the first axis) are read, and no others.

        Raises RequestError for a row that the tensor does not have. Negative indices are refused:
        numpy would count them from the end, and a prediction must not guess.
        """
        self._add(name, 0, "row", rows)

    def columns(self, name: str, columns: Sequence[int] | np.ndarray) -> None:
        """The blocks of a matrix that hold these columns are read, and no others.

        Raises RequestError for a column that the matrix does not have, as `rows` does, and for a
        matrix whose scales lie apart from its numbers.
        """
        if self._spec(name).group_size:
            raise RequestError(
                f"{name}: has its scales behind its numbers, expected them beside these where "
                f"single columns are read; convert it to another format"
            )
        self._add(name, 1, "column", columns)

    def _add(self, name: str, axis: int, what: str, ids: Sequence[int] | np.ndarray) -> None:
        spec = self._spec(name)
        chosen = np.unique(np.asarray(ids, np.int64))
        length = spec.shape[axis]
        if chosen.size and not (chosen[0] >= 0 and chosen[-1] < length):
            wrong = chosen[0] if chosen[0] < 0 else chosen[-1]
            raise RequestError(f"{name}: {what} {wrong}, expected 0 to {length - 1}")
        key = name, what, chosen.tobytes()
        if key not in self._requests:
            self._requests[key] = tensor_ranges(spec, axis, chosen)
            if spec.group_size:
                self._requests[name, f"scales of {what}", key[2]] = scale_ranges(spec, chosen)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was requested."""
        return not any(map(len, self._requests.values()))

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors of which anything was requested so far, each once, in order."""
        return tuple(dict.fromkeys(name for name, _, _ in self._requests))

    @property
    def ranges(self) -> tuple[ByteRange, ...]:
        """All requests so far: (first byte, number of bytes), each once, in order."""
        return tuple(dict.fromkeys(map(tuple, self._table().tolist())))

    @property
    def n_bytes(self) -> int:
        """Bytes requested; a range that was requested twice counts once."""
        return int(np.unique(self._table(), axis=0)[:, 1].sum())

    def pages(self) -> np.ndarray:
        """(n_pages,) bool: the pages that hold at least one requested byte."""
        return pages_of(self._table(), self._n_pages, self._page_size)

    def clear(self) -> None:
        """Forget everything, as at the start of a record."""
        self._requests.clear()

    def _table(self) -> np.ndarray:
        return np.concatenate([np.empty((0, 2), np.int64), *self._requests.values()])

    def _spec(self, name: str) -> TensorSpec:
        try:
            return self._tensors[name]
        except KeyError:
            raise RequestError(
                f"{name}: no such tensor in this file, expected one of {len(self._tensors)} names; "
                f"was the model loaded from the file that the lab maps?"
            ) from None

    def __repr__(self) -> str:
        return f"Ledger({len(self.ranges):,} ranges, {self.n_bytes:,} bytes)"
