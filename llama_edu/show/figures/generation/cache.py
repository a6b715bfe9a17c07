"""What a key/value cache saves, by the length of the text: by arithmetic, and in time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.ink import BLUE, VERMILLION, new_figure
from llama_edu.transformer.work import cache_saving


def cache_figure(config: ModelConfig, measured: Mapping[int, float]) -> AltFigure:
    """The ratio without to with a cache over the length of the text: a line of work, marks of time.

    Args:
        measured: length -> seconds without a cache over seconds with it.
    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    figure = new_figure("cache_figure", 7.6, 3.6)
    axes = figure.add_subplot()
    longest = max(measured)
    lengths = np.unique(np.linspace(1, longest, 60).round().astype(int))
    ratios = [cache_saving(config, int(n)) for n in lengths]
    axes.plot(lengths, ratios, color=BLUE, linewidth=2)
    axes.text(lengths[-1], ratios[-1], " work", color=BLUE, va="center")
    places, times = list(measured), list(measured.values())
    axes.plot(places, times, "o--", color=VERMILLION)
    axes.text(places[-1], times[-1], "  time", color=VERMILLION, va="center")
    axes.set_xlim(0, longest * 1.12)
    axes.set_ylim(0, None)
    axes.set_xlabel("positions of the text, the new one included")
    axes.set_ylabel("without a cache / with it")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return AltFigure(
        figure,
        f"A line that rises with the length of the text: multiplications for one more token "
        f"without a cache over those with it, {ratios[-1]:.0f} at {longest} positions. Marks below "
        f"it, at {', '.join(map(str, places))} positions: the same ratio of times, measured on one "
        f"machine.",
    )
