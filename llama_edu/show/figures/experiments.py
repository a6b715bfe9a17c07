"""Figures of two experiments: the ways to load a file, and the illusion of 2023."""

from __future__ import annotations

from typing import Any

import numpy as np

from llama_edu.experiments.illusion import Illusion
from llama_edu.experiments.load_race import LoadRace
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.runtime.optional import import_optional

#: From dark to light, so that they differ without color too.
_DARK, _MIDDLE, _LIGHT = "#00224e", "#7d7c78", "#fdd835"


def race_figure(race: LoadRace) -> AltFigure:
    """How long each way took to open a file, to read it once, and to read it again.

    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    figure = import_optional("matplotlib.figure", "race_figure").Figure(
        figsize=(8, 4.6), dpi=100, layout="constrained"
    )
    states = [s for s in ("cold", "warm") if any(lap.state == s for lap in race.laps)]
    for axes, state in zip(np.atleast_1d(figure.subplots(len(states))), states, strict=True):
        laps = [lap for lap in race.laps if lap.state == state][::-1]
        start = np.zeros(len(laps))
        for part, color, label in (
            ("open_s", _DARK, "open"), ("first_s", _MIDDLE, "first pass"),
            ("second_s", _LIGHT, "second pass"),
        ):  # fmt: skip
            lengths = np.array([1e3 * getattr(lap, part) for lap in laps])
            axes.barh([lap.way for lap in laps], lengths, left=start, color=color, label=label)
            start += lengths
        axes.set_title(f"{state}: the file is {'on disk only' if state == 'cold' else 'in memory'}",
                       fontsize=10, loc="left")  # fmt: skip
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("milliseconds")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=8, ncols=3, loc="outside upper right")
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
    figure = import_optional("matplotlib.figure", "illusion_figure").Figure(
        figsize=(8, 3.6), dpi=100, layout="constrained"
    )
    axes: Any = figure.add_subplot()
    readings = result.readings
    x = np.arange(len(readings))
    for i, (field, color, label) in enumerate((
        ("naive_fraction", _LIGHT, "faults × page size"), ("rss_fraction", _MIDDLE, "Rss"),
        ("true_fraction", _DARK, "touched"),
    )):  # fmt: skip
        heights = [100 * (getattr(reading, field) or 0) for reading in readings]
        bars = axes.bar(x + (i - 1) * 0.27, heights, 0.25, color=color, label=label)
        axes.bar_label(bars, fmt="%.0f", fontsize=8)
    labels = [f"{r.state}, {r.access}".replace(", ", ",\n") for r in readings]
    axes.set_xticks(x, labels, fontsize=8)
    axes.set_ylabel("% of the file")
    axes.set_ylim(0, 112)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.14))
    states = "; ".join(f"{r.state}, {r.access}" for r in readings)
    alt = (
        f"Three bars for each reading ({states}): faults times page size, Rss, and the pages that "
        f"were truly touched, in percent of the file."
    )
    return AltFigure(figure, alt)
