"""A strip of pages for each way of mapping: touched, mapped along, and where the faults were."""

from __future__ import annotations

from typing import Any

from llama_edu.experiments.observe.fault_around import FaultAround, Strip
from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import BLUE, FAINT, INK, MIDDLE, VERMILLION, new_figure

#: Pages in a line of a strip.
_LINE = 48


def fault_around_figure(result: FaultAround) -> AltFigure:
    """The pages as cells: dark where touched, light where mapped along; a mark over each fault.

    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    n_lines = -(-result.n_pages // _LINE)
    # a title, then for each line of cells one for the marks above it
    lines_each = 1.5 + n_lines * 2.1
    height = lines_each * len(result.strips) + 1.8
    figure = new_figure("fault_around_figure", 7.6, height * 0.158 + 0.1, layout=None)
    axes = figure.add_axes((0.012, 0.01, 0.976, 0.98))
    axes.set_xlim(-0.3, _LINE + 0.3)
    axes.set_ylim(height, 0)
    axes.axis("off")
    for number, strip in enumerate(result.strips):
        top = number * lines_each
        n_faults, n_pages = len(strip.faulted), len(strip.mapped)
        axes.text(0, top + 0.9, plain_label(strip.state, 60), fontsize=10, weight="bold")
        axes.text(
            _LINE, top + 0.9,
            f"{len(strip.touched)} touched, {n_faults} fault{'s' if n_faults != 1 else ''}, "
            f"{n_pages} mapped",
            fontsize=10, ha="right",
        )  # fmt: skip
        for page in range(result.n_pages):
            line, column = divmod(page, _LINE)
            _cell(axes, column, top + 2.1 + 2.1 * line, page, strip)
    _legend(axes, height - 1.1)
    if result.where:
        axes.text(_LINE, height - 0.45, plain_label(result.where, 80), fontsize=9, ha="right")
    return AltFigure(figure, _words(result))


def _cell(axes: Any, x: float, y: float, page: int, strip: Strip) -> None:
    """One page; y grows downward."""
    from matplotlib.patches import Rectangle

    if page in strip.touched:
        color: Any = BLUE
    else:
        color = MIDDLE if page in strip.mapped else FAINT
    axes.add_patch(Rectangle((x + 0.06, y), 0.88, 1, facecolor=color, edgecolor=INK, linewidth=0.4))
    if page in strip.faulted:
        axes.plot([x + 0.5], [y - 0.45], marker="v", color=VERMILLION, markersize=9, clip_on=False)


def _legend(axes: Any, y: float) -> None:
    from matplotlib.patches import Rectangle

    x = 0.0
    for color, words, width in (
        (BLUE, "touched", 6.2), (MIDDLE, "mapped along", 8.9), (FAINT, "not mapped", 8.0),
    ):  # fmt: skip
        axes.add_patch(
            Rectangle((x + 0.06, y), 0.88, 1, facecolor=color, edgecolor=INK, linewidth=0.4)
        )
        axes.text(x + 1.3, y + 0.55, words, fontsize=10, va="center")
        x += width
    axes.plot([x + 0.5], [y + 0.5], marker="v", color=VERMILLION, markersize=9)
    axes.text(x + 1.3, y + 0.55, "page fault", fontsize=10, va="center")


def _words(result: FaultAround) -> str:
    strips = "; ".join(
        f"{s.state}: {len(s.touched)} pages touched, {len(s.faulted)} faults, {len(s.mapped)} "
        f"pages mapped"
        for s in result.strips
    )
    where = f", {result.where}" if result.where else ""
    return f"Strips of {result.n_pages} pages{where}, with a mark over each fault. {strips}."
