"""The whole way, drawn once: from the bytes of a file over pages and vectors to the next token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.files.layout import TensorSpec
from llama_edu.llama import Llama
from llama_edu.pages.arithmetic import page_range
from llama_edu.pages.by_tensor import layer_of
from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import BLUE, DARK, FAINT, INK, MIDDLE, VERMILLION, new_figure, on
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.story.token_html import token_label
from llama_edu.text import one_line

#: Cells of pages at most, rows of vectors at most, and how many of the likeliest tokens are drawn.
_MOST_CELLS, _MOST_VECTORS, _N_LIKELIEST = 3000, 9, 6

#: The page is that of the system on most machines, whatever this one has.
_PAGE_BYTES = 4096

_WIDTH, _HEIGHT = 8.0, 4.5


@dataclass(frozen=True)
class WholeWay:
    """What the figure draws, in numbers.

    Attributes:
        file_name, n_bytes: of the weight file.
        bands: (name, first byte) of what lies one after the other in it.
        piece: the last token of the text. row: where its row of the embedding table lies.
        n_pages: of the file. row_pages: those of the row.
        vectors: (1 + layers, dim) float32, of the last token: the row, and x after each layer.
        n_scores: how many tokens get a score. likeliest: the first pieces and probabilities.
    """

    file_name: str
    n_bytes: int
    bands: list[tuple[str, int]]
    piece: str
    row: range
    n_pages: int
    row_pages: range
    vectors: np.ndarray
    n_scores: int
    likeliest: list[tuple[str, float]]


def whole_way(llama: Llama, text: str) -> WholeWay:
    """Compute a text and find where its last token came from in the file.

    Raises:
        RequestError: the weights are not those of one file, the text has no token, or the model
            has no vocabulary.
    """
    paths = llama.checkpoint.paths
    spec = llama.checkpoint.tensors["token_embedding"]
    if len(paths) != 1 or not isinstance(spec, TensorSpec):
        raise RequestError(
            f"whole_way: the model lies in {len(paths)} files, expected one; write it as one with "
            f"llama_edu.show.one_file"
        )
    tokens = llama.tokenizer.encode(text)
    if not tokens:
        raise RequestError("whole_way: the text has no token, expected at least one")
    steps = llama.trace(tokens, ["embedding", "layers.*.out", "logits"])
    names = ["embedding", *(f"layers.{n}.out" for n in range(llama.config.n_layers))]
    logits = steps["logits"][-1].astype(np.float64)
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    best = np.argsort(-chances, kind="stable")[:_N_LIKELIEST]
    row_bytes = spec.n_bytes // spec.shape[0]
    begin = spec.offset + tokens[-1] * row_bytes
    n_bytes = paths[0].stat().st_size
    return WholeWay(
        paths[0].name, n_bytes, _bands(llama), token_label(llama.tokenizer, tokens[-1]),
        range(begin, begin + row_bytes), -(-n_bytes // _PAGE_BYTES),
        page_range(begin, row_bytes, _PAGE_BYTES), np.stack([steps[name][-1] for name in names]),
        len(chances), [(token_label(llama.tokenizer, int(i)), float(chances[i])) for i in best],
    )  # fmt: skip


def _bands(llama: Llama) -> list[tuple[str, int]]:
    specs = [s for s in llama.checkpoint.tensors.values() if isinstance(s, TensorSpec)]
    bands = [("header", 0)]
    for spec in sorted(specs, key=lambda spec: spec.offset):
        if layer_of(spec.name) != bands[-1][0]:
            bands.append((layer_of(spec.name), spec.offset))
    return bands


def whole_way_figure(llama: Llama, text: str = "Once upon a time") -> AltFigure:
    """File, pages, vectors and tokens from left to right, with the sizes of a loaded model.

    Raises:
        RequestError: as `whole_way`.
        LlamaEduError: matplotlib is not installed.
    """
    way = whole_way(llama, text)
    figure = new_figure("whole_way_figure", _WIDTH, _HEIGHT, layout=None)
    file = _draw_file(figure, way)
    pages = _draw_pages(figure, way)
    vectors = _draw_vectors(figure, way)
    scores = _draw_scores(figure, way)
    dim = way.vectors.shape[1]
    middle = 0.5 * (way.row.start + way.row.stop) / way.n_bytes
    _arrow(figure, (file, (1, middle)), pages)
    _arrow(figure, pages, (vectors, (-0.23 * dim, 0)))
    bottom = len(_shown(way)) - 1
    _arrow(figure, (vectors, (dim - 0.5, bottom)), (scores, (0, 0)))
    return AltFigure(figure, _alt(way))


def _draw_file(figure: Any, way: WholeWay) -> Any:
    """The file as a bar, its first byte on top."""
    below = f"{plain_label(way.file_name, 24)}\n{way.n_bytes:,} bytes"
    axes = _panel(figure, 0.185, 0.04, "1  the file", below, right=True)
    stops = [*(first for _, first in way.bands[1:]), way.n_bytes]
    sizes = []
    for i, ((name, first), stop) in enumerate(zip(way.bands, stops, strict=True)):
        size = (stop - first) / way.n_bytes
        axes.bar(0.5, size, 1, bottom=first / way.n_bytes, color=FAINT if i % 2 else "none",
                 edgecolor=INK, linewidth=0.7)  # fmt: skip
        sizes.append((size, first / way.n_bytes + size / 2, name))
    named: list[float] = []
    for _, middle, name in sorted(sizes, key=lambda band: -band[0]):  # the largest first
        if all(abs(middle - other) > 0.045 for other in named):
            axes.text(-0.2, middle, plain_label(name, 20), ha="right", va="center", fontsize=9)
            named.append(middle)
    height = max(0.006, len(way.row) / way.n_bytes)
    axes.bar(0.5, height, 1, bottom=way.row.start / way.n_bytes - height / 2, color=VERMILLION)
    axes.set_xlim(0, 1)
    axes.set_ylim(1, 0)
    return axes


def _draw_pages(figure: Any, way: WholeWay) -> tuple[Any, tuple[float, float]]:
    """The pages as cells from left to right and down; and the place of the row's first page."""
    per_cell = -(-way.n_pages // _MOST_CELLS)
    n_cells = -(-way.n_pages // per_cell)
    columns = math.ceil(math.sqrt(0.62 * n_cells))
    rows = -(-n_cells // columns)
    firsts = [first // _PAGE_BYTES // per_cell for _, first in way.bands]
    band = np.searchsorted(firsts, np.arange(rows * columns), side="right") - 1
    picture = np.zeros((rows * columns, 4))
    picture[:] = (*np.array(FAINT[:3]), 0.28)
    picture[band % 2 == 0, 3] = 0.12
    picture[n_cells:] = 0
    cell = way.row_pages.start // per_cell
    row, column = divmod(cell, columns)
    what = "one cell is a page" if per_cell == 1 else f"one cell is {per_cell:,} pages"
    axes = _panel(figure, 0.285, 0.2, "2  its pages",
                  f"{way.n_pages:,} pages of {_PAGE_BYTES:,} bytes;\n{what}")  # fmt: skip
    axes.imshow(picture.reshape(rows, columns, 4), aspect="auto", interpolation="nearest")
    patch = import_optional("matplotlib.patches", "whole_way_figure").Rectangle
    axes.add_patch(patch((column - 1, row - 1), 3, 3, color=VERMILLION, linewidth=0))
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    return axes, (column, row)


def _shown(way: WholeWay) -> list[int]:
    """Which of the vectors are drawn: all, or some from the first to the last."""
    n = len(way.vectors)
    return sorted({round(i * (n - 1) / (_MOST_VECTORS - 1)) for i in range(_MOST_VECTORS)}
                  if n > _MOST_VECTORS else range(n))  # fmt: skip


def _draw_vectors(figure: Any, way: WholeWay) -> Any:
    """A strip of colors for the row, and one for what each layer made of it."""
    shown = _shown(way)
    dim = way.vectors.shape[1]
    axes = _panel(figure, 0.56, 0.19, "3  a vector",
                  f"the row of {plain_label(way.piece, 12)}: {dim:,} numbers,\n"
                  f"after each of {len(way.vectors) - 1} layers")  # fmt: skip
    for place, i in enumerate(shown):
        x = way.vectors[i]
        spread = float(np.quantile(np.abs(x), 0.98)) or 1.0
        axes.imshow(x[np.newaxis] / spread, cmap="cividis", vmin=-1, vmax=1, aspect="auto",
                    extent=(-0.5, dim - 0.5, place + 0.33, place - 0.33),
                    interpolation="nearest")  # fmt: skip
    axes.set_yticks(range(len(shown)), ["row", *(f"{i}" for i in shown[1:])], fontsize=9)
    axes.tick_params(length=0)
    axes.set_xlim(-0.5, dim - 0.5)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    return axes


def _draw_scores(figure: Any, way: WholeWay) -> Any:
    """The likeliest next tokens as bars, the likeliest on top."""
    axes = _panel(figure, 0.84, 0.145, "4  a token",
                  f"{way.n_scores:,} scores,\none for each token")  # fmt: skip
    names = [plain_label(name, 12) for name, _ in way.likeliest]
    chances = [chance for _, chance in way.likeliest]
    places = range(len(names))
    colors = [DARK, *[MIDDLE] * (len(names) - 1)]
    axes.barh(places, chances, 0.6, color=colors, edgecolor=INK, linewidth=0.6)
    for place, name, chance in zip(places, names, chances, strict=True):
        inside = chance > 0.6 * max(chances)
        axes.text(chance - 0.02 if inside else chance + 0.02, place, f"{name} {_percent(chance)}",
                  ha="right" if inside else "left", va="center", fontsize=9,
                  color=on(colors[place]) if inside else INK)  # fmt: skip
    axes.set_xlim(0, max(1.05 * max(chances), 0.3))
    axes.set_ylim(len(names) - 0.5, -0.5)
    return axes


def _percent(chance: float) -> str:
    return f"{100 * chance:.0f} %" if chance >= 0.01 else "< 1 %"


def _panel(
    figure: Any, left: float, width: float, title: str, below: str, right: bool = False
) -> Any:
    """Axes without a frame, a title above and two lines below, in the middle or to the right."""
    axes = figure.add_axes((left, 0.16, width, 0.73), frameon=False)
    axes.set_xticks([])
    axes.set_yticks([])
    at, side = (left + width, "right") if right else (left + width / 2, "center")
    figure.text(at, 0.93, title, ha=side, fontsize=11, color=BLUE, weight="bold")
    figure.text(at, 0.125, below, ha=side, va="top", fontsize=9, linespacing=1.4)
    return axes


def _arrow(figure: Any, start: tuple[Any, Any], end: tuple[Any, Any]) -> None:
    """An arrow from a place in one panel to a place in another."""
    connection = import_optional("matplotlib.patches", "whole_way_figure").ConnectionPatch
    figure.add_artist(
        connection(
            xyA=start[1], coordsA=start[0].transData, xyB=end[1], coordsB=end[0].transData,
            arrowstyle="-|>", color=VERMILLION, linewidth=1.4, mutation_scale=12,
            shrinkA=3, shrinkB=5,
        )
    )  # fmt: skip


def _alt(way: WholeWay) -> str:
    named = ", ".join(f"{name} {_percent(chance)}" for name, chance in way.likeliest[:3])
    return (
        f"Four pictures from left to right. The file {one_line(way.file_name)}, {way.n_bytes:,} "
        f"bytes; in it the row of the token {way.piece}, {len(way.row):,} bytes at "
        f"{way.row.start:,}. Its {way.n_pages:,} pages, of which the row lies in number "
        f"{way.row_pages.start:,}. The vector of {way.vectors.shape[1]:,} numbers, as a strip of "
        f"colors, and what each of {len(way.vectors) - 1} layers made of it. The {way.n_scores:,} "
        f"scores; the likeliest next tokens are {named}."
    )
