"""Byte ranges and page ranges: the arithmetic that every count of pages is based on.

A page is `page_size` bytes of the file, starting with page 0. A range touches a page if at least
one of its bytes is in it. Two neighboring ranges can touch the same page, so the page counts of
tensors must not be added up: a bitmap counts each page once.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

#: First byte and number of bytes.
ByteRange = tuple[int, int]


def n_pages_of(n_bytes: int, page_size: int) -> int:
    """Pages that a file of `n_bytes` occupies; the last one may be partly filled."""
    return -(-n_bytes // page_size)


def page_range(offset: int, n_bytes: int, page_size: int) -> range:
    """The pages that hold at least one byte of the range; empty for an empty range."""
    if n_bytes <= 0:
        return range(0)
    return range(offset // page_size, (offset + n_bytes - 1) // page_size + 1)


def pages_of(ranges: Iterable[ByteRange] | np.ndarray, n_pages: int, page_size: int) -> np.ndarray:
    """The pages that hold at least one byte of any of the ranges.

    Args:
        ranges: (first byte, number of bytes) each; an array of them is (n, 2) int64.
    Returns:
        (n_pages,) bool, a new array.
    Raises:
        IndexError: a range extends beyond the last page.
    """
    table = ranges if isinstance(ranges, np.ndarray) else np.array(list(ranges), np.int64)
    table = table.reshape(-1, 2)
    table = table[table[:, 1] > 0]
    first = table[:, 0] // page_size
    after = (table[:, 0] + table[:, 1] - 1) // page_size + 1
    if len(table) and (first.min() < 0 or after.max() > n_pages):
        raise IndexError(f"a range reaches page {after.max() - 1:,}, the file has {n_pages:,}")
    # +1 where a range begins, -1 where it ends: the running sum counts the ranges over a page
    change = np.bincount(first, minlength=n_pages + 1) - np.bincount(after, minlength=n_pages + 1)
    return np.cumsum(change[:n_pages]) > 0


def bytes_in_pages(offset: int, n_bytes: int, pages: np.ndarray, page_size: int) -> int:
    """How many bytes of the range are in pages that are marked in `pages`, (n_pages,) bool."""
    span = page_range(offset, n_bytes, page_size)
    if not span:
        return 0
    marked = pages[span.start : span.stop]
    total = int(marked.sum()) * page_size
    if marked[0]:
        total -= offset - span.start * page_size
    if marked[-1]:
        total -= span.stop * page_size - (offset + n_bytes)
    return total


def range_bytes_in_pages(ranges: np.ndarray, pages: np.ndarray, page_size: int) -> int:
    """How many bytes of (n, 2) int64 ranges that do not overlap are in marked pages."""
    before = np.concatenate(([0], np.cumsum(pages) * page_size))  # marked bytes before each page
    marked = np.append(pages, False)

    def marked_before(byte: np.ndarray) -> np.ndarray:
        page, rest = np.divmod(byte, page_size)
        return before[page] + np.where(marked[page], rest, 0)

    return int((marked_before(ranges.sum(axis=1)) - marked_before(ranges[:, 0])).sum())


def runs_of(pages: np.ndarray) -> list[range]:
    """The marked pages of a (n_pages,) bool bitmap as ranges, in order, none adjacent."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], pages.astype(np.int8), [0]))))
    return [range(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
