"""PageGrid: the pages of a file as a rectangle of cells, and how they are drawn as a small PNG.

The image has a transparent background and half-transparent grays, so that it suits light and dark
pages. Color-blind readers can tell blue from yellow too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.pages.arithmetic import page_range
from llama_edu.pages.by_tensor import band_of, expert_of, in_bands, layer_of, n_experts_of
from llama_edu.pages.record import Record
from llama_edu.show.figures.page_layout import LABEL_PX, SMALLEST_WITH_EDGE, has_lines, laid_out
from llama_edu.show.figures.png import palette_png

#: The strip at the left, whose two grays alternate from layer to layer.
_STRIP, _STRIP_GAP = 12, 4
#: The name of the pages before the first tensor: header, and in some formats the vocabulary.
_HEADER = "header"

#: The half-transparent gray of a page that was never touched.
NEVER = "#80808048"

# Colors of the palette. A cell's color is even; the odd number after it is the color of its edge.
_NOTHING, _STRIP_A, _STRIP_B, _PICKED, _NEVER, _FIRST_SCALE = 0, 2, 3, 4, 6, 8
_N_SCALE = (256 - _FIRST_SCALE) // 2
#: Anchors of the scale, from the first step to the last: blue, violet gray, yellow.
_SCALE_ANCHORS = ((31, 95, 191), (128, 122, 150), (245, 184, 20))


@dataclass(frozen=True)
class Band:
    """Named pages: a layer, an expert of one, a tensor in no layer, or what is before the first.

    Attributes:
        first_page: the first that the band does not share with the one before it, if there is one.
        is_expert: of the layer before it; its pages are gathered from several places of the file.
    """

    name: str
    first_page: int
    is_expert: bool = False

    @property
    def label(self) -> str:
        """The name beside the picture: of an expert, without its layer."""
        return self.name.rpartition(", ")[2] if self.is_expert else self.name


class PageGrid:
    """Where each page of one file lies in the image.

    Attributes:
        n_pages: of the file. columns, rows: of cells in the image.
        cell_px: width and height of a cell. pages_per_cell: 1 except for large files.
        cell_words: what a cell stands for, such as "one page, 4,096 bytes".
        order_words: in which order they lie. n_experts: of a layer; 0 for a dense model.
        bands: layers, experts and single tensors from top to bottom.
        width, height: of the image, in pixels.
    """

    def __init__(self, record: Record) -> None:
        self.n_pages = record.n_pages
        self.n_experts = n_experts_of(record.tensors)
        bands = _bands_with_experts(record) if self.n_experts else _bands(record)
        self.bands, band_numbers, tensor_numbers = bands
        starts = sorted({0, *(band.first_page for band in self.bands)})
        order, layer_numbers, self.order_words = None, band_numbers, "in file order"
        if self.n_experts:
            order, starts, layer_numbers = _by_expert(self.bands, band_numbers)
            self.order_words = "layer by layer, each followed by its experts"
        self._layout = layout = laid_out(self.n_pages, starts, order)
        self.pages_per_cell, self.cell_px = layout.pages_per_cell, layout.cell_px
        n, n_bytes = self.pages_per_cell, self.pages_per_cell * record.page_size
        pages = "one page" if n == 1 else f"{n:,} neighboring pages"
        self.cell_words = f"{pages}, {n_bytes:,} bytes"
        self.columns, self.rows = layout.columns, layout.rows
        left = _STRIP + _STRIP_GAP
        self.width, self.height = left + self.columns * self.cell_px, layout.height
        self._ground = np.zeros((self.height, self.width), np.uint8)
        self._draw_strip(layout.in_cells(layer_numbers))
        self._gaps = np.zeros((self.height, self.width - left), bool)
        if self.cell_px >= SMALLEST_WITH_EDGE:
            self._cut(layout.in_cells(tensor_numbers), 1)
            self._cut(layout.in_cells(band_numbers), 2)

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

    def labels(self, least_px: int = LABEL_PX) -> list[tuple[float, str]]:
        """(distance from the top as a fraction, name) of the bands with space for their names."""
        shown: list[tuple[int, str]] = []
        for band in self.bands:
            if band.is_expert:
                continue
            top = self._top(band)
            if shown and shown[-1][1] == _HEADER and top - shown[-1][0] < least_px:
                shown.pop()  # a weight is worth more
            if not shown or top - shown[-1][0] >= least_px:
                shown.append((top, band.label))
        for band in self.bands:  # experts where there is space between layers
            top = self._top(band) if band.is_expert else 0
            if band.is_expert and all(abs(top - other) >= least_px for other, _ in shown):
                shown.append((top, band.label))
        return [(top / self.height, name) for top, name in sorted(shown)]

    def _top(self, band: Band) -> int:
        row, _ = self._layout.place_of(band.first_page)
        return int(self._layout.tops[row])

    def _pixels(self, values: np.ndarray, n_values: int, picked: int | None) -> np.ndarray:
        """(height, width) uint8, colors of the palette."""
        layout = self._layout
        pixels = self._ground.copy()
        inner = pixels[:, _STRIP + _STRIP_GAP :]
        inner[:] = layout.in_pixels(layout.in_cells(_scale_index(values, n_values)))
        if self.cell_px >= SMALLEST_WITH_EDGE:
            inner[layout.tops] |= 1
            inner[:, :: self.cell_px] |= 1
            inner[self._gaps] = _NOTHING
        if picked is not None:
            self._frame(inner, picked)
        return pixels

    def _draw_strip(self, layers: np.ndarray) -> None:
        shades = np.where(layers[:, :1] % 2, _STRIP_A, _STRIP_B).astype(np.uint8)
        strip = self._layout.in_pixels(shades.repeat(self.columns, 1))
        self._ground[:, :_STRIP] = strip[:, :1]

    def _cut(self, names: np.ndarray, n_px: int) -> None:
        """A gap of `n_px` pixels where two neighboring cells of a band have different names."""
        beside = names != np.roll(names, 1, 1)
        beside[:, 0] = False
        above = names != np.roll(names, 1, 0)
        above[self._layout.first_rows] = False
        if self.cell_px == SMALLEST_WITH_EDGE:  # such a gap would look like one between bands
            above[:] = False
        for i in range(n_px):
            self._gaps[:, i :: self.cell_px] |= self._layout.in_pixels(beside)[:, :: self.cell_px]
            self._gaps[self._layout.tops + i] |= above.repeat(self.cell_px, 1)

    def _frame(self, inner: np.ndarray, page: int) -> None:
        row, column = self._layout.place_of(page)
        margin = 3 if self.cell_px < SMALLEST_WITH_EDGE else 1
        top = int(self._layout.tops[row]) - margin + 1
        left = column * self.cell_px - margin + 1
        size = self.cell_px + 2 * margin - 1
        box = inner[max(0, top) : top + size, max(0, left) : left + size]
        kept = box[2:-2, 2:-2].copy()
        box[:] = _PICKED
        box[2:-2, 2:-2] = kept


def scale_color(value: int, n_values: int) -> str:
    """The color of a value, as #rrggbb."""
    index = int(_scale_index(np.array([value], np.int32), n_values)[0])
    return "#" + _PALETTE[index, :3].tobytes().hex()


def ink_on(color: str) -> str:
    """Black or white, whichever is easier to read on a color #rrggbb."""
    red, green, blue = bytes.fromhex(color[1:])
    return "#000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#fff"


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


#: The bands; for each page the number of its band and of its tensor, from 1, or 0: it has none.
_Bands = tuple[tuple[Band, ...], np.ndarray, np.ndarray]


def _bands(record: Record) -> _Bands:
    """Bands in file order: of a file whose layers take turns, several have the same name."""
    band_numbers, tensor_numbers = np.zeros((2, record.n_pages), np.int32)
    bands: list[Band] = []
    specs = sorted(record.tensors.values(), key=lambda spec: spec.offset)
    if specs and specs[0].offset >= record.page_size:
        bands.append(Band(_HEADER, 0))
        band_numbers[: specs[0].offset // record.page_size] = 1
    for number, spec in enumerate(specs, 1):
        name = layer_of(spec.name)
        span = page_range(spec.offset, max(1, spec.n_bytes), record.page_size)
        if not bands or bands[-1].name != name:
            bands.append(_band(name, span, band_numbers))
        _claim(span, (band_numbers, len(bands)), (tensor_numbers, number))
    return tuple(bands), band_numbers, tensor_numbers


def _bands_with_experts(record: Record) -> _Bands:
    """Bands of a mixture: a layer, then its experts, each from several places of the file."""
    band_numbers, tensor_numbers = np.zeros((2, record.n_pages), np.int32)
    specs = sorted(record.tensors.values(), key=lambda spec: spec.offset)
    names = in_bands(spec.name for spec in specs)
    bands: dict[str, Band] = {}
    if specs[0].offset >= record.page_size:
        names.insert(0, _HEADER)
        bands[_HEADER] = Band(_HEADER, 0)
        band_numbers[: specs[0].offset // record.page_size] = 1
    places = {name: number for number, name in enumerate(names, 1)}
    for number, spec in enumerate(specs, 1):
        name = band_of(spec.name)
        span = page_range(spec.offset, max(1, spec.n_bytes), record.page_size)
        if name not in bands:
            is_expert = expert_of(spec.name) is not None
            bands[name] = _band(name, span, band_numbers, is_expert)
        _claim(span, (band_numbers, places[name]), (tensor_numbers, number))
    return tuple(bands[name] for name in names), band_numbers, tensor_numbers


def _band(name: str, span: range, band_numbers: np.ndarray, is_expert: bool = False) -> Band:
    """A band that begins with these pages, the first of which may be another's already."""
    is_shared = bool(band_numbers[span.start] > 0 and len(span) > 1)
    return Band(name, span.start + is_shared, is_expert)


def _claim(span: range, *numbered: tuple[np.ndarray, int]) -> None:
    """Give pages their number; one that two tensors share keeps the first one's."""
    for numbers, value in numbered:
        part = numbers[span.start : span.stop]
        part[part == 0] = value


def _by_expert(
    bands: Sequence[Band], band_numbers: np.ndarray
) -> tuple[np.ndarray, list[int], np.ndarray]:
    """The pages of each band together: their order, where bands begin in it, layers of the pages.

    A page without a tensor lies behind the one before it. Where a line for each expert would be too
    many, only layers begin one.
    """
    last_known = np.maximum.accumulate(np.where(band_numbers > 0, np.arange(len(band_numbers)), 0))
    numbers = band_numbers[last_known]
    order = np.argsort(numbers, kind="stable")
    begins = list(range(1, len(bands) + 1))
    if not has_lines(len(begins)):
        begins = [band for band in begins if not bands[band - 1].is_expert]
    starts = np.searchsorted(numbers[order], begins).tolist()
    starts = [start for start in starts if start < len(order)]  # a band may have no page of its own
    layers = np.cumsum([0, *(not band.is_expert for band in bands)])
    return order, sorted({0, *starts}), layers[numbers].astype(np.int32)


def _palette() -> np.ndarray:
    anchors = np.array(_SCALE_ANCHORS, float)
    places = np.linspace(0, len(anchors) - 1, _N_SCALE)
    colors = np.zeros((256, 4), np.uint8)
    colors[_STRIP_A] = (128, 128, 128, 200)
    colors[_STRIP_B] = (128, 128, 128, 80)
    colors[_PICKED] = (214, 0, 108, 255)
    colors[_NEVER : _NEVER + 2] = tuple(bytes.fromhex(NEVER[1:])), (128, 128, 128, 50)
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
    with strides or transposed, is given with the bytes that lie there instead.
    """
    lines = []
    begin, end = page * record.page_size, (page + 1) * record.page_size
    for spec in sorted(record.tensors.values(), key=lambda spec: spec.offset):
        if spec.n_bytes == 0 or spec.end <= begin or spec.offset >= end:
            continue
        first = max(0, begin - spec.offset)
        last = min(spec.n_bytes, end - spec.offset) - 1
        if len(spec.shape) == 1 or spec.strides is not None or spec.transposed:
            lines.append(f"{spec.name}, bytes {first:,} to {last:,} of its {spec.n_bytes:,}")
            continue
        row_bytes = spec.n_bytes // spec.shape[0]
        rows = first // row_bytes, last // row_bytes
        what = f"row {rows[0]:,}" if rows[0] == rows[1] else f"rows {rows[0]:,} to {rows[1]:,}"
        lines.append(f"{spec.name}, {what} of {spec.shape[0]:,}")
    return lines
