"""PageLayout: in which cell of a picture each page of a file lies.

Every band (a layer, an expert of one, or a tensor that belongs to none) begins a line of cells of
its own, with a gap above it, so that a file of 30 layers looks like 30 bands and not like one block
of color. Cells stay large enough to be seen one by one: where a file has too many pages, a cell
stands for several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Size of the area of cells in pixels. Its width fits in a notebook beside the file browser, so
#: that scaling loses no line; its height is below the second number where cells can be large, and
#: always below the third.
_WIDTH, _HEIGHT, _MOST_HEIGHT = 720, 420, 620
#: With more bands than this the area may be as high as it ever is.
_MANY_BANDS = 40
#: The height of a name beside a band; and on a narrow page, which shrinks the picture to two thirds
#: and not the names. Below the last band there is room for one.
LABEL_PX, LABEL_PX_SHRUNK = 12, 18
#: Between two bands. With the smallest cells that have an edge, two lines of them and a gap are as
#: high as a label.
_GAP = 3
#: Cells smaller than this have no softer edge, and no gaps between tensors.
SMALLEST_WITH_EDGE = 5
#: A cell of this size stands for as many pages as need be; a larger one for at most four.
_SMALLEST = 3
_LARGEST, _MOST_PAGES_WITH_EDGE = 16, 4


@dataclass(frozen=True)
class PageLayout:
    """The places of cells; a cell holds neighboring pages of one band.

    Attributes:
        cell_px: width and height of a cell. pages_per_cell: of the last cell of a band, at most.
        columns, rows: of cells. height: of the picture, in pixels.
        first_rows: (n_runs,) int64, the rows above which there is a gap, and 0.
        cell_starts: (n_cells,) int64, the first page of each cell, ascending.
        places: (n_cells,) int64, row * columns + column of each cell, ascending.
        tops: (rows,) int64, the first pixel line of each row.
        order: (n_pages,) int64, the pages in the order in which they lie, or None for file order.
    """

    cell_px: int
    pages_per_cell: int
    columns: int
    rows: int
    height: int
    first_rows: np.ndarray
    cell_starts: np.ndarray
    places: np.ndarray
    tops: np.ndarray
    order: np.ndarray | None = None

    def place_of(self, page: int) -> tuple[int, int]:
        """Row and column of the cell that holds a page."""
        if self.order is not None:
            page = int(np.flatnonzero(self.order == page)[0])
        cell = int(np.searchsorted(self.cell_starts, page, side="right")) - 1
        row, column = divmod(int(self.places[cell]), self.columns)
        return row, column

    def first_pages(self) -> dict[tuple[int, int], int]:
        """(row, column) -> the first page of each cell."""
        starts = self.cell_starts if self.order is None else self.order[self.cell_starts]
        rows, columns = np.divmod(self.places, self.columns)
        return dict(
            zip(zip(rows.tolist(), columns.tolist(), strict=True), starts.tolist(), strict=True)
        )

    def in_cells(self, of_pages: np.ndarray) -> np.ndarray:
        """(n_pages,) -> (rows, columns), the largest value in a cell; 0 where there is no cell."""
        of_pages = of_pages if self.order is None else of_pages[self.order]
        cells = np.zeros(self.rows * self.columns, of_pages.dtype)
        cells[self.places] = np.maximum.reduceat(of_pages, self.cell_starts)
        return cells.reshape(self.rows, self.columns)

    def in_pixels(self, cells: np.ndarray) -> np.ndarray:
        """(rows, columns) -> (height, columns * cell_px), 0 in the gaps."""
        pixels = np.zeros((self.height, self.columns * self.cell_px), cells.dtype)
        wide = cells.repeat(self.cell_px, 1)
        for line in range(self.cell_px):
            pixels[self.tops + line] = wide
        return pixels


def has_lines(n_bands: int) -> bool:
    """Whether so many bands can each have a line of their own."""
    return n_bands * (_SMALLEST + _GAP) <= _MOST_HEIGHT


def laid_out(n_pages: int, starts: Sequence[int], order: np.ndarray | None = None) -> PageLayout:
    """Lay out the pages of a file.

    Args:
        starts: the first page of each band, ascending, the first of them 0. Where even one line for
            each would be too many, the bands follow each other without a new line.
        order: of the pages, where they do not lie in that of the file; `starts` are places in it.
    """
    lengths = np.diff([*starts, n_pages])
    if not has_lines(len(starts)):
        lengths = np.array([n_pages])
    pages_per_cell, cell_px, columns = _fitting(lengths)
    n_cells = -(-lengths // pages_per_cell)
    n_rows = -(-n_cells // columns)
    first_rows = np.cumsum(n_rows) - n_rows
    number = np.concatenate([np.arange(n) for n in n_cells])  # of a cell in its band
    run = np.arange(len(lengths)).repeat(n_cells)
    rows = int(n_rows.sum())
    for_labels = np.maximum(LABEL_PX_SHRUNK - n_rows * cell_px, 0)
    gaps = np.maximum(for_labels, _GAP)  # below each band
    if rows * cell_px + gaps.sum() > _MOST_HEIGHT:
        gaps[:] = _GAP  # some names have no space then
    gaps[-1] = for_labels[-1]
    return PageLayout(
        cell_px, pages_per_cell, columns, rows,
        height=rows * cell_px + int(gaps.sum()),
        first_rows=first_rows,
        cell_starts=(np.cumsum(lengths) - lengths)[run] + number * pages_per_cell,
        places=first_rows[run] * columns + number,
        tops=np.arange(rows) * cell_px + (np.cumsum(gaps) - gaps).repeat(n_rows),
        order=order,
    )  # fmt: skip


def _fitting(lengths: np.ndarray) -> tuple[int, int, int]:
    """Pages in a cell, its size, and cells in a line: the first that is not too high.

    One page in a cell is better than several, and large cells are better than small ones.
    """
    pages_per_cell = 1
    high = _MOST_HEIGHT - LABEL_PX_SHRUNK if len(lengths) > _MANY_BANDS else _HEIGHT
    while True:
        n_cells = -(-lengths // pages_per_cell)
        has_edge = pages_per_cell <= _MOST_PAGES_WITH_EDGE
        sizes = range(_LARGEST, SMALLEST_WITH_EDGE - 1, -1) if has_edge else (_SMALLEST,)
        for cell_px in sizes:
            columns = min(_WIDTH // cell_px, int(n_cells.max()))
            height = int((-(-n_cells // columns)).sum()) * cell_px + _GAP * (len(lengths) - 1)
            if height <= (high if cell_px > SMALLEST_WITH_EDGE else _MOST_HEIGHT):
                return pages_per_cell, cell_px, columns
        pages_per_cell += 1
