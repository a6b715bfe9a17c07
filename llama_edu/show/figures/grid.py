"""PageGrid: the pages of a file as a rectangle of cells, and how they are drawn as a small PNG.

The image has a transparent background and half-transparent grays, so that it suits light and dark
pages. Color-blind readers can tell blue from yellow too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.pages.arithmetic import page_range
from llama_edu.pages.by_tensor import layer_of
from llama_edu.pages.record import Record
from llama_edu.show.figures.png import palette_png

#: Size of the area of cells in pixels. Its width fits in a notebook beside the file browser, so
#: that scaling loses no line; its height is near the second number and never above the third. Where
#: a file has more pages than the area has pixels, a cell stands for several pages.
_WIDTH, _HEIGHT, _MOST_HEIGHT = 720, 420, 620
#: The strip at the left, whose two grays alternate from layer to layer.
_STRIP, _STRIP_GAP = 12, 4
#: Cells smaller than this have no softer edge, and no gaps between tensors and layers.
_SMALLEST_WITH_EDGE = 5

#: The gray of a page that was never touched, as it looks on white, without transparency.
NEVER_ON_WHITE = "#dadada"

# Colors of the palette. A cell's color is even; the odd number after it is the color of its edge.
_NOTHING, _STRIP_A, _STRIP_B, _PICKED, _NEVER, _FIRST_SCALE = 0, 2, 3, 4, 6, 8
_N_SCALE = (256 - _FIRST_SCALE) // 2
#: Anchors of the scale, from the first step to the last: blue, violet gray, yellow.
_SCALE_ANCHORS = ((31, 95, 191), (128, 122, 150), (245, 184, 20))


@dataclass(frozen=True)
class Band:
    """A named run of pages: a layer, or a tensor that belongs to none."""

    name: str
    first_page: int


class PageGrid:
    """Where each page of one file lies in the image.

    Attributes:
        n_pages: of the file. columns, rows: of cells in the image.
        cell_px: width and height of a cell. pages_per_cell: 1 except for very large files.
        bands: layers and single tensors in file order. width, height: of the image, in pixels.
    """

    def __init__(self, record: Record) -> None:
        self.n_pages = record.n_pages
        self.pages_per_cell = max(1, -(-self.n_pages // (_WIDTH * _MOST_HEIGHT)))
        n_cells = -(-self.n_pages // self.pages_per_cell)
        self.cell_px = min(16, max(1, int(np.sqrt(_WIDTH * _HEIGHT / n_cells) + 0.35)))
        self.columns = min(_WIDTH // self.cell_px, n_cells)
        self.rows = -(-n_cells // self.columns)
        left = _STRIP + _STRIP_GAP
        self.width = left + self.columns * self.cell_px
        self.height = self.rows * self.cell_px
        self.bands, layer_of, tensor_of = _bands(record)
        self._ground = np.zeros((self.height, self.width), np.uint8)
        self._cells = self._ground[:, left:]
        self._draw_strip(self._in_cells(layer_of))
        self._gaps = np.zeros(self._cells.shape, bool)
        if self.cell_px >= _SMALLEST_WITH_EDGE:
            self._cut(self._in_cells(tensor_of), 1)
            self._cut(self._in_cells(layer_of), 2)

    def png(self, values: np.ndarray, n_values: int, picked: int | None = None) -> bytes:
        """The image as a file.

        Args:
            values: (n_pages,) int32, -1 for never, else 0 to n_values - 1; see Touches.values.
            n_values: how many values the color scale runs over.
            picked: a page to draw a frame around.
        """
        return palette_png(self._pixels(values, n_values, picked), _PALETTE)

    def colors(self, values: np.ndarray, n_values: int) -> np.ndarray:
        """The same image as (height, width, 4) uint8: red, green, blue, opacity."""
        return _PALETTE[self._pixels(values, n_values, None)]

    def _pixels(self, values: np.ndarray, n_values: int, picked: int | None) -> np.ndarray:
        """(height, width) uint8, colors of the palette."""
        cells = self._in_cells(_scale_index(values, n_values))
        pixels = self._ground.copy()
        inner = pixels[:, _STRIP + _STRIP_GAP :]
        inner[:] = cells.repeat(self.cell_px, 0).repeat(self.cell_px, 1)
        if self.cell_px >= _SMALLEST_WITH_EDGE:
            inner[:: self.cell_px] |= 1
            inner[:, :: self.cell_px] |= 1
            inner[self._gaps] = _NOTHING
        if picked is not None:
            self._frame(inner, picked)
        return pixels

    def labels(self, least_px: int = 13) -> list[tuple[float, str]]:
        """(distance from the top as a fraction, name) of the bands with space for their names."""
        shown: list[tuple[float, str]] = []
        last = -least_px
        for band in self.bands:
            top = band.first_page // self.pages_per_cell // self.columns * self.cell_px
            if top - last >= least_px:
                shown.append((top / self.height, band.name))
                last = top
        return shown

    def _in_cells(self, of_pages: np.ndarray) -> np.ndarray:
        """(n_pages,) -> (rows, columns), the largest value in a cell; 0 beyond the last page."""
        padded = np.zeros(self.rows * self.columns * self.pages_per_cell, of_pages.dtype)
        padded[: self.n_pages] = of_pages
        cells = padded.reshape(-1, self.pages_per_cell).max(1)
        return cells.reshape(self.rows, self.columns)

    def _draw_strip(self, layers: np.ndarray) -> None:
        shades = np.where(layers[:, 0] % 2, _STRIP_A, _STRIP_B).astype(np.uint8)
        self._ground[:, :_STRIP] = shades.repeat(self.cell_px)[:, None]

    def _cut(self, names: np.ndarray, n_px: int) -> None:
        """A gap of `n_px` pixels where two neighboring cells belong to different names."""
        beside = names != np.roll(names, 1, 1)
        beside[:, 0] = False
        above = names != np.roll(names, 1, 0)
        above[0] = False
        for i in range(n_px):
            self._gaps[:, i :: self.cell_px] |= beside.repeat(self.cell_px, 0)
            self._gaps[i :: self.cell_px] |= above.repeat(self.cell_px, 1)

    def _frame(self, inner: np.ndarray, page: int) -> None:
        row, column = divmod(page // self.pages_per_cell, self.columns)
        margin = 3 if self.cell_px < _SMALLEST_WITH_EDGE else 1
        top, left = row * self.cell_px - margin + 1, column * self.cell_px - margin + 1
        size = self.cell_px + 2 * margin - 1
        box = inner[max(0, top) : top + size, max(0, left) : left + size]
        kept = box[2:-2, 2:-2].copy()
        box[:] = _PICKED
        box[2:-2, 2:-2] = kept


def scale_color(value: int, n_values: int) -> str:
    """The color of a value, as #rrggbb."""
    index = int(_scale_index(np.array([value], np.int32), n_values)[0])
    return "#" + _PALETTE[index, :3].tobytes().hex()


def legend_values(n_values: int) -> list[int]:
    """The values that a legend names: at most six, including the first and the last."""
    return sorted({round(i * (n_values - 1) / 5) for i in range(6)})


def picked_color() -> str:
    """The color of the frame around the picked page, as #rrggbb."""
    return "#" + _PALETTE[_PICKED, :3].tobytes().hex()


def _scale_index(values: np.ndarray, n_values: int) -> np.ndarray:
    """(n,) int32 -> (n,) uint8 colors of the palette."""
    steps = values.astype(np.int64) * (_N_SCALE - 1) // max(1, n_values - 1)
    colors = _FIRST_SCALE + 2 * np.clip(steps, 0, _N_SCALE - 1)
    return np.where(values < 0, _NEVER, colors).astype(np.uint8)


def _bands(record: Record) -> tuple[tuple[Band, ...], np.ndarray, np.ndarray]:
    """The bands; for each page the number of its band and of its tensor, 0 where it has none."""
    band_numbers = np.zeros(record.n_pages, np.int32)
    tensor_numbers = np.zeros(record.n_pages, np.int32)
    bands: list[Band] = []
    specs = sorted(record.tensors.values(), key=lambda spec: spec.offset)
    for number, spec in enumerate(specs, 1):
        name = layer_of(spec.name)
        span = page_range(spec.offset, max(1, spec.n_bytes), record.page_size)
        if not bands or bands[-1].name != name:
            bands.append(Band(name, span.start))
        # a page that two tensors share keeps the first one's number
        for numbers, value in ((band_numbers, len(bands)), (tensor_numbers, number)):
            part = numbers[span.start : span.stop]
            part[part == 0] = value
    return tuple(bands), band_numbers, tensor_numbers


def _palette() -> np.ndarray:
    anchors = np.array(_SCALE_ANCHORS, float)
    places = np.linspace(0, len(anchors) - 1, _N_SCALE)
    colors = np.zeros((256, 4), np.uint8)
    colors[_STRIP_A] = (128, 128, 128, 200)
    colors[_STRIP_B] = (128, 128, 128, 80)
    colors[_PICKED] = (214, 0, 108, 255)
    colors[_NEVER : _NEVER + 2] = (128, 128, 128, 72), (128, 128, 128, 50)
    for channel in range(3):
        at = np.arange(len(anchors))
        scale = np.interp(places, at, anchors[:, channel]).round()
        colors[_FIRST_SCALE:, channel] = scale.repeat(2)
    colors[_FIRST_SCALE::2, 3] = 255
    colors[_FIRST_SCALE + 1 :: 2, 3] = 215
    return colors


_PALETTE = _palette()


def tensors_at(record: Record, page: int) -> Sequence[str]:
    """The contents of one page: each tensor with the rows that have a byte there.

    Rows are stored rows, along a tensor's first axis. A tensor that has one axis, or that is stored
    with strides, is given with the bytes that lie there instead.
    """
    lines = []
    begin, end = page * record.page_size, (page + 1) * record.page_size
    for spec in sorted(record.tensors.values(), key=lambda spec: spec.offset):
        if spec.n_bytes == 0 or spec.end <= begin or spec.offset >= end:
            continue
        first = max(0, begin - spec.offset)
        last = min(spec.n_bytes, end - spec.offset) - 1
        if len(spec.shape) == 1 or spec.strides is not None:
            lines.append(f"{spec.name}, bytes {first:,} to {last:,} of its {spec.n_bytes:,}")
            continue
        row_bytes = spec.n_bytes // spec.shape[0]
        rows = first // row_bytes, last // row_bytes
        what = f"row {rows[0]:,}" if rows[0] == rows[1] else f"rows {rows[0]:,} to {rows[1]:,}"
        lines.append(f"{spec.name}, {what} of {spec.shape[0]:,}")
    return lines
