"""Figures of two experiments: the ways to load a file, and the illusion of 2023."""

from __future__ import annotations

from typing import Any

import numpy as np

from llama_edu.experiments.illusion import Illusion
from llama_edu.experiments.load_race import LoadRace
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.ink import DARK, INK, LIGHT, MIDDLE, new_figure


def race_figure(race: LoadRace) -> AltFigure:
    """How long each way took to open a file, to read it once, and to read it again.

    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    figure = new_figure("race_figure", 8, 4.6)
    states = [s for s in ("cold", "warm") if any(lap.state == s for lap in race.laps)]
    for axes, state in zip(np.atleast_1d(figure.subplots(len(states))), states, strict=True):
        laps = [lap for lap in race.laps if lap.state == state][::-1]
        start = np.zeros(len(laps))
        for part, color, label in (
            ("open_s", DARK, "open"), ("first_s", MIDDLE, "first pass"),
            ("second_s", LIGHT, "second pass"),
        ):  # fmt: skip
            lengths = np.array([1e3 * getattr(lap, part) for lap in laps])
            axes.barh([lap.way for lap in laps], lengths, left=start, color=color, label=label,
                      edgecolor=INK, linewidth=0.6)  # fmt: skip
            start += lengths
        axes.set_title(f"{state}: the file is {'on disk only' if state == 'cold' else 'in memory'}",
                       fontsize=10, loc="left")  # fmt: skip
        axes.tick_params(labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("milliseconds")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, ncols=3, loc="outside upper right")
    ways = ", ".join(dict.fromkeys(lap.way for lap in race.laps))
    alt = (
        f"Bars, one for each way of loading ({ways}), {' and '.join(states)}: the time to open, "
        f"then the first pass, then the second, in milliseconds."
    )
    return AltFigure(figure, alt)


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
