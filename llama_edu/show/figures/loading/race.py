"""How long each way of loading took, cold and warm, on one scale."""

from __future__ import annotations

import numpy as np

from llama_edu.experiments.load_race import LoadRace
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.ink import DARK, INK, LIGHT, MIDDLE, new_figure

_PARTS = (
    ("open_s", DARK, "open"),
    ("first_s", MIDDLE, "first pass"),
    ("second_s", LIGHT, "second pass"),
)


def race_figure(race: LoadRace) -> AltFigure:
    """How long each way took to open a file, to read it once, and to read it again.

    Cold and warm have one scale. The number beside a bar is opening and the first pass.

    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    figure = new_figure("race_figure", 8, 4.8)
    states = [s for s in ("cold", "warm") if any(lap.state == s for lap in race.laps)]
    panels = np.atleast_1d(figure.subplots(len(states), sharex=True))
    for axes, state in zip(panels, states, strict=True):
        laps = [lap for lap in race.laps if lap.state == state][::-1]
        start = np.zeros(len(laps))
        for part, color, label in _PARTS:
            lengths = np.array([1e3 * getattr(lap, part) for lap in laps])
            bars = axes.barh([lap.way for lap in laps], lengths, left=start, color=color,
                             label=label, edgecolor=INK, linewidth=0.6)  # fmt: skip
            start += lengths
        sums = [f"{1e3 * (lap.open_s + lap.first_s):,.0f}" for lap in laps]
        axes.bar_label(bars, sums, fontsize=9, padding=4)
        axes.set_title(f"{state}: the file is {'on disk only' if state == 'cold' else 'in memory'}",
                       fontsize=10, loc="left")  # fmt: skip
        axes.tick_params(labelsize=9, labelbottom=True)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"milliseconds, best of {race.n_laps}; beside the bar: open + first pass",
                    fontsize=9)  # fmt: skip
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize=9, ncols=3, loc="outside upper right")
    ways = ", ".join(dict.fromkeys(lap.way for lap in race.laps))
    alt = (
        f"Bars, one for each way of loading ({ways}), {' and '.join(states)} on one scale: the "
        f"time to open, then the first pass, then the second, in milliseconds, best of "
        f"{race.n_laps}."
    )
    return AltFigure(figure, alt)
