"""The figure: our ratios to llama.cpp as bars, files side by side, decode above prefill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figure import BLACK, BLUE, GREEN, ORANGE, save_figure
from benchmarks.speed.contenders import JIT, JIT_INT8, LLAMA_CPP, NUMPY, OURS
from benchmarks.speed.results import DECODE, PREFILL, Results
from benchmarks.speed.subjects import SUBJECTS
from benchmarks.timing import Ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Contender -> color, pattern, and where its bars stand beside the middle.
_LOOKS = {NUMPY: (BLUE, "", -0.27), JIT: (ORANGE, "//", 0.0), JIT_INT8: (GREEN, "..", 0.27)}

#: Label of a file -> median, least and most.
_Ratios = dict[str, Ratio]


def speed_figure(results: Results) -> str:
    """Draw the figure; the Markdown that shows it."""
    found = {(job, ours): _ratios(results, job, ours) for job in (DECODE, PREFILL) for ours in OURS}
    labels = [SUBJECTS[k].label for k, m in results.items() if LLAMA_CPP in m.jobs[DECODE]]

    def draw(figure: Figure) -> None:
        for axes, job in zip(figure.subplots(2, 1), (DECODE, PREFILL), strict=True):
            for ours in OURS:
                _draw(axes, ours, labels, found[job, ours])
            axes.axhline(1, color=BLACK, linewidth=1, label=LLAMA_CPP)
            axes.set_xticks(range(len(labels)), labels, fontsize=8)
            axes.set(title=job, ylabel="times as fast")
            axes.spines[["top", "right"]].set_visible(False)
        figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center", ncols=4,
            frameon=False, fontsize=8,
        )  # fmt: skip

    alt = "Bars: how many times as fast as llama.cpp. " + " ".join(
        f"{job}, {ours}: " + ", ".join(f"{label} {r[0]:.2f}" for label, r in ratios.items()) + "."
        for (job, ours), ratios in found.items()
        if ratios
    )
    n_rounds = sorted({len(m.jobs[DECODE][LLAMA_CPP].seconds) for m in results.values()
                       if LLAMA_CPP in m.jobs[DECODE]})  # fmt: skip
    caption = (
        "For each file the same threads and the same rounds. The line at 1 is llama.cpp with its "
        "defaults; bars are medians, whiskers the least and the most of "
        f"{' or '.join(map(str, n_rounds))} rounds."
    )
    return save_figure("speed.png", alt, caption, (9.5, 6.2), draw)


def _ratios(results: Results, job: str, ours: str) -> _Ratios:
    found = ((SUBJECTS[k].label, m.ratio(job, ours, LLAMA_CPP)) for k, m in results.items())
    return {label: ratio for label, ratio in found if ratio is not None}


def _draw(axes: Axes, ours: str, labels: list[str], ratios: _Ratios) -> None:
    if not ratios:
        return
    color, hatch, shift = _LOOKS[ours]
    at = np.array([labels.index(label) for label in ratios]) + shift
    middles, leasts, mosts = np.array(list(ratios.values())).T
    axes.bar(
        at, middles, 0.27, yerr=(middles - leasts, mosts - middles), label=ours,
        color=color, hatch=hatch, edgecolor="white", ecolor="#555555",
    )  # fmt: skip
    for x, middle, most in zip(at, middles, mosts, strict=True):
        axes.annotate(
            f"{middle:.2f}", (x, most), (0, 2), textcoords="offset points", ha="center", fontsize=7
        )
