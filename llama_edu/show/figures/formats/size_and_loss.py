"""A figure of number types: how large the file is with each, and how well the model predicts."""

from __future__ import annotations

from typing import Any

from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import BLUE, FAINT, INK, new_figure
from llama_edu.slimmer.size_and_loss import SizeAndLoss


def size_and_loss_figure(found: SizeAndLoss) -> AltFigure:
    """A point for each type: million bytes across, nats per token upward, with an error bar.

    The bar is the standard error of the difference from the first type, which has none.

    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    figure = new_figure("size_and_loss_figure", 7.6, 4)
    axes: Any = figure.add_subplot()
    rows = sorted(found.rows, key=lambda row: row.n_bytes)
    x = [row.n_bytes / 1e6 for row in rows]
    y = [row.nats for row in rows]
    errors = [row.more.standard_error if row.more else 0.0 for row in rows]
    axes.axhline(found.rows[0].nats, color=INK, linestyle=":", linewidth=1.2, zorder=0)
    axes.errorbar(x, y, yerr=errors, color=BLUE, marker="o", markersize=7, linewidth=1.2,
                  elinewidth=1.6, capsize=4)  # fmt: skip
    for row, at, nats, error in zip(rows, x, y, errors, strict=True):
        axes.annotate(row.type, (at, nats - error), xytext=(0, -7), textcoords="offset points",
                      ha="center", va="top", fontsize=10)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(0.8 * x[0], 1.25 * x[-1])
    ticks = _ticks(x[0], x[-1])
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    room = 0.3 * (max(y) - min(y)) + 1e-3
    axes.set_ylim(min(y) - room, max(y) + room)
    axes.set_xlabel("million bytes of the file (each step to the left halves it)")
    axes.set_ylabel("nats per token (lower is better)")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{found.n_tokens:,} tokens: {plain_label(found.text, 66)}",
                   fontsize=10, loc="left")  # fmt: skip
    told = "; ".join(f"{row.type} {row.n_bytes:,} bytes, {row.nats:.3f}" for row in found.rows)
    alt = (
        f"A point for each number type: million bytes of the file across, nats per token of "
        f"{found.n_tokens:,} tokens upward. {told}."
    )
    return AltFigure(figure, alt)


def _ticks(least: float, most: float) -> list[float]:
    """Doublings from one, as far as the axis goes; for a large model from a power of two on."""
    tick, ticks = 1.0, []
    while tick <= 1.25 * most:
        if tick >= 0.8 * least:
            ticks.append(tick)
        tick *= 2
    return ticks
