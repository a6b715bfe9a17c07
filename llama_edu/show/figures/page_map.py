"""The page map as a figure that needs no kernel: for stored notebooks, web pages and paper.

Cells, bands and colors are those of PageGrid, which the panel uses too.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.pages.record import Record
from llama_edu.pages.touches import Mode, Step, Touches, untouched_word, value_word
from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.grid import NEVER, PageGrid, legend_values, scale_color
from llama_edu.show.figures.ink import new_figure
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.text.page_map import text_map
from llama_edu.text import one_line

#: Characters in a line below the map.
_LINE_LETTERS = 112
_TITLES: Mapping[Mode, str] = {
    "first": "which token needed a page first",
    "last": "which token needed a page last",
    "count": "how many tokens needed a page",
    "now": "which pages a token needed",
}


def touches_figure(
    touches: Touches, grid: PageGrid, mode: Mode, n_steps: int, alt: str
) -> AltFigure:
    """The map of a text after `n_steps` steps, with both readings below.

    Args:
        alt: the text that replaces the figure where it cannot be seen.
    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    n_values = len(touches)
    summary = touches.summary(n_steps)
    what = _TITLES[mode]
    if mode == "now" and grid.n_experts:
        what = "which experts this token chose, and what every token needs"
    values = [n_steps - 1] if mode == "now" else legend_values(n_values)
    figure = _draw(
        grid, touches.values(mode, n_steps), n_values,
        title=f"{touches.steps[0].record.file_name}: {what}",
        legend={value: value_word(mode, value) for value in values}, untouched=untouched_word(mode),
        lines=(f"One cell is {grid.cell_words}, {grid.order_words}.",
               *([touches.newest_line(n_steps)] if mode == "now" else []),
               summary.true_line, summary.naive_line),
    )  # fmt: skip
    return AltFigure(figure, alt)


def records_figure(records: Record | Sequence[Record], *, title: str | None = None) -> AltFigure:
    """The map of one record, or of several of one file in the order in which they were made.

    A page has the color of the first record that touched it. The alternative text is the text map
    of the only record, or the sentence below the map.

    Args:
        title: by default the file's name and the meaning of the colors.
    Raises:
        MeasurementError: there is no record, one has no pages, or they are of several files.
        LlamaEduError: matplotlib is not installed.
    """
    records = [records] if isinstance(records, Record) else list(records)
    if not records:
        raise MeasurementError("page map: no records, expected at least one")
    touches = Touches([Step(record.label, record) for record in records])
    first, grid = touches.values("first"), PageGrid(records[0])
    n_new = np.bincount(first[first >= 0], minlength=len(records))
    what = records[0].label if len(records) == 1 else "which record touched a page first"
    below = _records_line(touches, grid)
    figure = _draw(
        grid, first, len(records),
        title=title or f"{records[0].file_name}: {what}",
        legend={i: f"{one_line(records[i].label, 30)}: {n_new[i]:,} new"
                for i in legend_values(len(records))},
        lines=(below,),
    )  # fmt: skip
    return AltFigure(figure, text_map(records[0]) if len(records) == 1 else below)


def _records_line(touches: Touches, grid: PageGrid) -> str:
    """A sentence on what the map of some records shows, with the verdict on its number."""
    summary = touches.summary()
    return (
        f"Each cell is {grid.cell_words}, from left to right and down{_order(grid)}. "
        f"{f'{len(touches)} records together: ' if len(touches) > 1 else ''}{summary.true_line}."
    )


def _order(grid: PageGrid) -> str:
    return f", {grid.order_words}" if grid.n_experts else ""


def _draw(
    grid: PageGrid, values: np.ndarray, n_values: int, *, title: str, legend: Mapping[int, str],
    lines: Sequence[str], untouched: str = "never",
) -> Any:  # fmt: skip
    """A matplotlib Figure: the cells in their own pixels, names at the left, sentences below."""
    patch = import_optional("matplotlib.patches", "the page map").Patch
    wrapped = [part for line in lines for part in textwrap.wrap(line, _LINE_LETTERS)]
    # at 8 points a character is about 6 pixels wide
    n_columns = min(1 + len(legend), max(1, 110 // (6 + max(map(len, legend.values())))))
    n_rows = -(-(1 + len(legend)) // n_columns)
    dpi, left, above, below = 100, 120, 34, 20 + 16 * n_rows + 14 * len(wrapped)
    width, height = max(grid.width, 640) + left + 12, grid.height + above + below
    figure = new_figure("the page map", width / dpi, height / dpi, layout=None)
    axes = figure.add_axes(
        (left / width, below / height, grid.width / width, grid.height / height), frameon=False
    )
    axes.imshow(grid.colors(values, n_values), aspect="auto")
    labels = grid.labels()
    axes.set_yticks(
        [top * grid.height + 5 for top, _ in labels],
        [plain_label(name) for _, name in labels], fontsize=8,
    )  # fmt: skip
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.set_title(plain_label(title), fontsize=10, loc="left")
    patches = [
        patch(color=scale_color(value, n_values), label=plain_label(name))
        for value, name in legend.items()
    ]
    patches.append(patch(color=NEVER, label=untouched))
    figure.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(left / width, (below - 4) / height),
        ncols=n_columns, fontsize=8, frameon=False, borderaxespad=0, handlelength=1,
    )  # fmt: skip
    words = "\n".join(plain_label(line, _LINE_LETTERS) for line in wrapped)
    figure.text(left / width, 10 / height, words, fontsize=8, va="bottom")
    return figure
