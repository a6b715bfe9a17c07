"""The page map: every page of a weight file as one cell, colored by who touched it first.

Needs matplotlib, which is imported when a map is drawn and not before.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.pages.arithmetic import page_range
from llama_edu.pages.by_tensor import layer_of
from llama_edu.pages.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Pages that nobody touched; every other color is darker or more saturated.
_NEVER = "#e3e3e3"
#: The color of a single record: blue of the Okabe-Ito palette, told apart by color-blind eyes.
_TOUCHED = "#0072b2"
#: Several records take their colors from this scale, which reads the same without red and green.
_SCALE = "cividis"

_MOST_LABELS = 40
_MOST_LEGEND_ENTRIES = 10


def first_touch(records: Sequence[Record]) -> np.ndarray:
    """(n_pages,) int64: index of the first record that touched a page, -1 where none did.

    Raises MeasurementError when the records are of different files or have no pages.
    """
    if not records:
        raise MeasurementError("page map: no records, expected at least one")
    first = np.full(records[0].n_pages, -1, np.int64)
    for i, record in enumerate(records):
        if record.file_name != records[0].file_name or record.n_pages != len(first):
            raise MeasurementError(
                f"page map: records of {records[0].file_name} and {record.file_name}, expected "
                f"all of one file"
            )
        if record.pages is None:
            raise MeasurementError(f"page map: {record.headline}; there are no pages to draw")
        first[(first < 0) & record.pages] = i
    return first


def plot_pages(
    records: Record | Sequence[Record],
    *,
    n_columns: int | None = None,
    title: str | None = None,
    width_inches: float = 9.0,
) -> Figure:
    """Draw the pages of a file in file order, row by row, one cell per page.

    Args:
        records: one record, or several of the same file in the order in which they were made; a
            page takes the color of the first that touched it.
        n_columns: cells in a row; by default about twice as many as there are rows.
        title: by default the file's name and the record's label.
        width_inches: of the figure.

    Returns:
        a matplotlib Figure that no pyplot knows of, so it need not be closed.
    """
    from matplotlib.figure import Figure

    records = [records] if isinstance(records, Record) else list(records)
    first = first_touch(records)
    n_pages = len(first)
    columns = n_columns or max(16, int(np.sqrt(2 * n_pages)))
    rows = -(-n_pages // columns)
    cells = np.full(rows * columns, np.nan)
    cells[:n_pages] = first

    height = min(14.0, max(2.0, width_inches * 0.62 * rows / columns * 1.6))
    figure = Figure(figsize=(width_inches, height + 1.6), layout="constrained")
    axes = figure.subplots()
    _draw_cells(axes, cells.reshape(rows, columns), len(records))
    _draw_bands(axes, records[0], columns, rows)
    what = records[0].label if len(records) == 1 else "which record touched a page first"
    axes.set_title(title or f"{records[0].file_name}: {what}")
    _draw_legend(axes, records, first)
    figure.supxlabel(textwrap.fill(caption(records, first), 110), fontsize=8, ha="center")
    return figure


def caption(records: Sequence[Record], first: np.ndarray) -> str:
    """What the map shows, in words, with the verdict on its number."""
    n_touched = int((first >= 0).sum())
    kinds = ", ".join(sorted({record.verdict.kind for record in records}))
    page = records[0].page_size
    return (
        f"Each cell is one page of {page:,} bytes, in file order, left to right and down; lines "
        f"part the layers. {n_touched:,} of {len(first):,} pages ({n_touched / len(first):.1%}) "
        f"were touched by {len(records)} record{'s' if len(records) > 1 else ''}; pale cells "
        f"never. Verdict: {kinds}."
    )


def _draw_cells(axes: Axes, cells: np.ndarray, n_records: int) -> None:
    from matplotlib.colors import ListedColormap

    # index 0 is "never"; cells beyond the last page are masked and stay white
    colors = ListedColormap([_NEVER, *_colors(n_records)])
    image = np.ma.masked_invalid(cells + 1)
    axes.imshow(image, cmap=colors, vmin=-0.5, vmax=n_records + 0.5, aspect="auto",
                interpolation="nearest")  # fmt: skip
    axes.set_xticks([])


def _colors(n_records: int) -> list:
    from matplotlib import colormaps

    if n_records == 1:
        return [_TOUCHED]
    # the last tenth of the scale is a yellow too close to "never"
    return [colormaps[_SCALE](i / (n_records - 1) * 0.9) for i in range(n_records)]


def _draw_bands(axes: Axes, record: Record, columns: int, rows: int) -> None:
    """Lines where a new layer (or a tensor outside the layers) begins, and its name at the left."""
    labels: list[tuple[int, str]] = []
    last_name = ""
    for spec in sorted(record.tensors.values(), key=lambda spec: spec.offset):
        name = layer_of(spec.name)
        if name == last_name:
            continue
        last_name = name
        start = page_range(spec.offset, max(1, spec.n_bytes), record.page_size).start
        row, column = divmod(start, columns)
        # a staircase between the cell before and the first cell of the band
        x = [-0.5, column - 0.5, column - 0.5, columns - 0.5]
        y = [row + 0.5, row + 0.5, row - 0.5, row - 0.5]
        axes.plot(x, y, color="black", linewidth=0.6)
        labels.append((row, name))
    # names that would lie on top of each other are thinned out, the first of each group stays
    spacing = max(1.0, rows / _MOST_LABELS)
    shown: list[tuple[int, str]] = []
    for row, name in labels:
        if not shown or row - shown[-1][0] >= spacing:
            shown.append((row, name))
    axes.set_yticks([row for row, _ in shown], [name for _, name in shown], fontsize=7)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)


def _draw_legend(axes: Axes, records: Sequence[Record], first: np.ndarray) -> None:
    from matplotlib.patches import Patch

    colors = _colors(len(records))
    counts = np.bincount(first[first >= 0], minlength=len(records))
    shown = range(len(records))
    if len(records) > _MOST_LEGEND_ENTRIES:
        step = -(-len(records) // _MOST_LEGEND_ENTRIES)
        shown = range(0, len(records), step)
    patches = [
        Patch(color=colors[i], label=f"{records[i].label}: {counts[i]:,} new") for i in shown
    ]
    patches.append(Patch(color=_NEVER, label=f"never: {int((first < 0).sum()):,}"))
    axes.legend(handles=patches, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=7,
                frameon=False)  # fmt: skip
