"""A figure of how a matrix was cut for two GPUs, and where the parts lie in the joined file."""

from __future__ import annotations

import numpy as np

from llama_edu.errors import ShapeError
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.ink import INK, new_figure, on
from llama_edu.show.runtime.optional import import_optional


def part_of_each(rows: int, columns: int, n_parts: int, axis: int) -> np.ndarray:
    """Which part holds each number of a matrix that was cut into equal parts.

    Args:
        axis: 0 for a cut by rows, 1 by columns, see `files.parts.shards.cut_axis`.
    Returns:
        (rows, columns) int64, parts counted from 0.
    Raises:
        ShapeError: the parts would not be equal.
    """
    length = (rows, columns)[axis]
    if n_parts < 1 or length % n_parts:
        raise ShapeError(
            f"{rows} x {columns}: {length} {('rows', 'columns')[axis]} cannot be cut into "
            f"{n_parts} equal parts"
        )
    return np.indices((rows, columns))[axis] // (length // n_parts)


def n_runs(parts: np.ndarray) -> int:
    """The number of runs in which the parts alternate when the matrix is written row by row."""
    return 1 + int(np.count_nonzero(np.diff(parts.reshape(-1))))


def split_figure(rows: int = 4, columns: int = 6, n_parts: int = 2) -> AltFigure:
    """One small matrix cut by rows and by columns, above its numbers in file order.

    Raises:
        ShapeError: the parts would not be equal.
        LlamaEduError: matplotlib is not installed.
    """
    patches = import_optional("matplotlib.patches", "split_figure")
    scale = import_optional("matplotlib", "split_figure").colormaps["cividis"]
    colors = [scale(0.1 + 0.75 * part / max(1, n_parts - 1)) for part in range(n_parts)]
    figure = new_figure("split_figure", 7.5, 3.4)
    grid = figure.subplots(2, 2, height_ratios=(rows, 1.2))
    figure.get_layout_engine().set(wspace=0.06)
    runs = []
    for axis, (top, bottom) in enumerate(zip(*grid, strict=True)):
        parts = part_of_each(rows, columns, n_parts, axis)
        runs.append(n_runs(parts))
        _draw_cells(top, parts, colors, numbered=True)
        _draw_cells(bottom, parts.reshape(1, -1), colors, numbered=False)
        top.set_title(f"cut by {('rows', 'columns')[axis]}", fontsize=10)
        bottom.set_xlabel(f"place in the joined file (numbers): {runs[-1]} runs")
        bottom.set_aspect("auto")
        bottom.set_xticks(np.arange(0, rows * columns, columns) + 0.5,
                          range(0, rows * columns, columns))  # fmt: skip
    figure.legend(
        handles=[
            patches.Patch(facecolor=color, edgecolor=INK, label=f"from part {part}")
            for part, color in enumerate(colors)
        ],
        loc="outside upper center", ncols=n_parts, frameon=False, fontsize=9,
    )  # fmt: skip
    alt = (
        f"A matrix of {rows} x {columns} numbers cut into {n_parts} parts. Cut by rows, each part "
        f"is one run of the joined file ({runs[0]} in all); cut by columns, the parts alternate in "
        f"{runs[1]} runs."
    )
    return AltFigure(figure, alt)


def _draw_cells(axes, parts: np.ndarray, colors: list, *, numbered: bool) -> None:
    listed = import_optional("matplotlib.colors", "split_figure").ListedColormap(colors)
    rows, columns = parts.shape
    axes.pcolormesh(
        np.arange(columns + 1), np.arange(rows + 1), parts, cmap=listed,
        vmin=-0.5, vmax=len(colors) - 0.5, edgecolors=INK, linewidth=1,
    )  # fmt: skip
    if numbered:
        for i, part in enumerate(parts.reshape(-1)):
            row, column = divmod(i, columns)
            axes.text(column + 0.5, row + 0.52, str(i), color=on(colors[part]),
                      ha="center", va="center")  # fmt: skip
        axes.set_xticks([])
    axes.set_yticks([])
    axes.set_ylim(rows, 0)
    axes.set_aspect("equal")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
