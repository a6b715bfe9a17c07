"""A figure of all ways to make a model smaller: what a token needs against what is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from llama_edu.errors import RequestError
from llama_edu.experiments.slimmer import Slimmer
from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    OLIVE,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    new_figure,
)  # fmt: skip
from llama_edu.slimmer.ways.measured import Row
from llama_edu.slimmer.ways.rows import TRAP

Axis = Literal["pages", "bytes"]

#: Kind -> marker and color.
_LOOKS: dict[str, tuple[str, str]] = {
    "unchanged": ("*", INK),
    "stored type": ("o", BLUE),
    "pruning": ("X", VERMILLION),
    "low rank": ("s", GREEN),
    "vocabulary": ("P", SKY),
    "inputs cut": ("v", PURPLE),
    "layers": ("D", ORANGE),
}
_OTHER = ("h", OLIVE)
_LIMITS = ("floor: attention and output", "one twelfth (2023)")

#: Losses below are drawn on a linear scale, those above on a logarithmic one.
_LINEAR_UP_TO = 0.01


def drawn_rows(found: Slimmer) -> list[Row]:
    """The rows that have numbers and are ways to make a model smaller."""
    return [r for r in found.rows if r.nats is not None and r.n_pages and r.kind != TRAP]


def needs(found: Slimmer, row: Row, axis: Axis) -> float:
    """What a token needs, as a share of the unchanged model."""
    if axis == "bytes":
        return row.bytes_share or 0.0
    return (row.n_pages or 0) / found.base_pages


def pareto_front(found: Slimmer, axis: Axis = "pages") -> list[Row]:
    """The rows that no other beats in both, from the most that is needed to the least.

    A gain counts as no loss: leaving something out taught the model nothing.
    """

    def lost(row: Row) -> float:
        return max(row.nats or 0.0, 0.0)

    front: list[Row] = []
    for row in sorted(drawn_rows(found), key=lambda r: (needs(found, r, axis), lost(r))):
        if not front or lost(row) < lost(front[-1]):
            front.append(row)
    return front[::-1]


def pareto_figure(found: Slimmer, axis: Axis = "pages") -> AltFigure:
    """Every way as a point: pages (or bytes) per token, nats lost; the front is a line.

    Raises:
        LlamaEduError: matplotlib is not installed. RequestError: another axis.
    """
    if axis not in ("pages", "bytes"):
        raise RequestError(f"pareto_figure: axis is {axis!r}, expected 'pages' or 'bytes'")
    figure = new_figure("pareto_figure", 8, 5.2)
    axes: Any = figure.add_subplot()
    rows, front = drawn_rows(found), pareto_front(found, axis)
    _draw_points(axes, found, rows, axis)
    axes.step(
        [needs(found, r, axis) for r in front], [r.nats for r in front], where="pre",
        color=INK, linewidth=1.2, zorder=1, label="front: nothing beats it in both",
    )  # fmt: skip
    _name(axes, found, front, axis)
    _draw_limits(axes, found, axis)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=_LINEAR_UP_TO)
    shares = [needs(found, r, axis) for r in rows]
    axes.set_xlim(0.068, max(1.15, 1.3 * max(shares)))
    highest = max(r.nats or 0.0 for r in rows)
    axes.set_ylim(min(-0.003, *(1.2 * (r.nats or 0.0) for r in rows)), max(0.1, 3 * highest))
    ticks = [t for t in (0.125, 0.25, 0.5, 1, 2, 4) if t <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, ["1/8", "1/4", "1/2", "1", "2", "4"][: len(ticks)])
    axes.minorticks_off()
    y_ticks = [t for t in (0, 0.005, 0.01, 0.1, 1, 10) if t <= axes.get_ylim()[1]]
    axes.set_yticks(y_ticks, [f"{t:g}" for t in y_ticks])
    unit = "pages" if axis == "pages" else "bytes"
    axes.set_xlabel(f"{unit} per token, as a share of the unchanged model")
    axes.set_ylabel("nats per token lost")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(plain_label(found.file_name), fontsize=10, loc="left")
    figure.legend(frameon=False, fontsize=9, ncols=4, loc="outside lower center")
    return AltFigure(figure, _alt(found, rows, front, axis))


def _draw_points(axes: Any, found: Slimmer, rows: Sequence[Row], axis: Axis) -> None:
    for kind in dict.fromkeys(row.kind for row in rows):
        marker, color = _LOOKS.get(kind, _OTHER)
        of_kind = [row for row in rows if row.kind == kind]
        axes.errorbar(
            [needs(found, r, axis) for r in of_kind], [r.nats for r in of_kind],
            yerr=[r.standard_error or 0.0 for r in of_kind], fmt=marker, color=color,
            markersize=14 if marker == "*" else 7, markeredgecolor=INK, markeredgewidth=0.5,
            elinewidth=1, label=kind, zorder=5 if kind == "unchanged" else 3,
        )  # fmt: skip


def _name(axes: Any, found: Slimmer, front: Sequence[Row], axis: Axis) -> None:
    """Names beside the front, in turn above right and below left, so that neighbors differ."""
    for i, row in enumerate(reversed(front)):
        right = i % 2 == 0
        axes.annotate(
            plain_label(row.label, 34), (needs(found, row, axis), row.nats),
            xytext=(6, 8) if right else (-8, -14), textcoords="offset points", fontsize=9,
            ha="left" if right else "right", color=INK, zorder=4,
        )  # fmt: skip


def _draw_limits(axes: Any, found: Slimmer, axis: Axis) -> None:
    """Two vertical lines; their names run along them, where points are seldom."""
    for x, style, name in zip(_limits(found, axis), ("--", ":"), _LIMITS, strict=True):
        axes.axvline(x, color=INK, linestyle=style, linewidth=1.4, zorder=0)
        axes.annotate(name, (x, 0.76), xycoords=("data", "axes fraction"), va="center",
                      rotation=90, fontsize=9, xytext=(-13, 0), textcoords="offset points",
                      color=INK)  # fmt: skip


def _limits(found: Slimmer, axis: Axis) -> tuple[float, float]:
    """Floor and one twelfth, as shares of what a token of the unchanged model needs."""
    if axis == "bytes":
        return found.floor_share, 1 / 12
    return found.floor_pages / found.base_pages, found.twelfth_pages / found.base_pages


def pareto_caption(found: Slimmer, axis: Axis = "pages") -> str:
    """What the figure shows, in sentences made of its numbers."""
    front = pareto_front(found, axis)
    least = front[-1]
    floor, twelfth = _limits(found, axis)
    n_below = sum(needs(found, row, axis) < floor for row in drawn_rows(found))
    return (
        f"What a token needs and what is lost by needing less: {plain_label(found.file_name)}, "
        f"{found.n_tokens:,} tokens. On the line nothing is better in both; it ends at "
        f"{plain_label(least.label)}, {needs(found, least, axis):.2f} of the {axis} for "
        f"{least.nats:+.3f} nats. Skipping neurons alone ends at the floor, {floor:.2f}; {n_below} "
        f"of the ways lie below it. One twelfth is {twelfth:.3f}."
    )


def _alt(found: Slimmer, rows: Sequence[Row], front: Sequence[Row], axis: Axis) -> str:
    floor, twelfth = _limits(found, axis)
    points = "; ".join(
        f"{row.label} {needs(found, row, axis):.2f}, {row.nats:+.3f}" for row in front
    )
    kinds = ", ".join(dict.fromkeys(row.kind for row in rows))
    cut = " The measurement was interrupted." if found.cut_short else ""
    return (
        f"Points for {len(rows)} ways ({kinds}): to the left fewer {axis} per token, as a share of "
        f"the unchanged model; upward more nats lost. The front, from right to left: {points}. "
        f"Vertical lines: the floor, attention and output alone, at {floor:.2f}, and one twelfth "
        f"of the file at {twelfth:.3f}.{cut}"
    )
