"""The figure of the illusion of 2023; those of loading are in `loading/`."""

from __future__ import annotations

from typing import Any

import numpy as np

from llama_edu.experiments.illusion import Illusion
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.ink import DARK, INK, LIGHT, MIDDLE, new_figure


def illusion_figure(result: Illusion) -> AltFigure:
    """The naive reading, the Rss reading and the true share of the file, side by side.

    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    figure = new_figure("illusion_figure", 8, 3.6)
    axes: Any = figure.add_subplot()
    readings = result.readings
    x = np.arange(len(readings))
    for i, (field, color, label) in enumerate((
        ("naive_fraction", LIGHT, "faults × page size"), ("rss_fraction", MIDDLE, "Rss"),
        ("true_fraction", DARK, "touched"),
    )):  # fmt: skip
        heights = [100 * (getattr(reading, field) or 0) for reading in readings]
        bars = axes.bar(x + (i - 1) * 0.27, heights, 0.25, color=color, label=label,
                        edgecolor=INK, linewidth=0.6)  # fmt: skip
        axes.bar_label(bars, fmt="%.0f", fontsize=9)
    labels = [f"{r.state}, {r.access}".replace(", ", ",\n") for r in readings]
    axes.set_xticks(x, labels, fontsize=9)
    axes.set_ylabel("% of the file")
    axes.set_ylim(0, 112)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.14))
    states = "; ".join(f"{r.state}, {r.access}" for r in readings)
    alt = (
        f"Three bars for each reading ({states}): faults times page size, Rss, and the pages that "
        f"were truly touched, in percent of the file."
    )
    return AltFigure(figure, alt)
