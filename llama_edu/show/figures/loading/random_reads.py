"""Random pages: the memory that each way of reading took, and the time, by threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from llama_edu.experiments.random_reads import RandomReads, Scan
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.ink import DARK, INK, LIGHT, MIDDLE, new_figure


def random_reads_figure(result: RandomReads) -> AltFigure:
    """Left, memory: pages of the file that are cached, and the pool. Right, time by threads.

    Drawn from the cold scans, or from the warm ones where the cache could not be emptied.

    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    state = "warm" if result.why_not_cold else "cold"
    scans = [scan for scan in result.scans if scan.state == state]
    figure = new_figure("random_reads_figure", 8, 3.4)
    memory, times = figure.subplots(1, 2, sharey=True)
    first = min(scan.n_threads for scan in scans)
    _memory(memory, [scan for scan in scans if scan.n_threads == first], result)
    _times(times, scans)
    times.set_title(f"milliseconds, {state}, by threads", fontsize=10, loc="left")
    for axes in (memory, times):
        axes.tick_params(labelsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.15)
    needed = result.n_pages * result.page_bytes
    said = "; ".join(
        f"{scan.way}: {_mib(scan.cached_bytes)} cached, {_mib(scan.own_bytes)} of its own"
        for scan in scans
        if scan.n_threads == first
    )
    alt = (
        f"Bars for reading {_mib(needed)} of random pages, {state}. Memory: {said}. Beside it the "
        f"milliseconds that each way took, by number of threads."
    )
    return AltFigure(figure, alt)


def _memory(axes: Any, scans: list[Scan], result: RandomReads) -> None:
    ways = [scan.way for scan in scans][::-1]
    cached = np.array([(scan.cached_bytes or 0) / 2**20 for scan in scans][::-1])
    pool = np.array([(scan.own_bytes or 0) / 2**20 for scan in scans][::-1])
    places = range(len(ways))
    axes.set_yticks(places, ways)
    axes.barh(places, cached, color=MIDDLE, edgecolor=INK, linewidth=0.6, label="page cache")
    bars = axes.barh(places, pool, left=cached, color=LIGHT, edgecolor=INK, linewidth=0.6,
                     label="pool of its own")  # fmt: skip
    axes.bar_label(bars, [f"{total:,.1f}" for total in cached + pool], fontsize=9, padding=4)
    needed = result.n_pages * result.page_bytes / 2**20
    axes.axvline(needed, color=INK, linestyle=(0, (1, 2)), linewidth=1.2, label="asked for")
    axes.set_title("MiB in memory afterwards", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(-0.45, -0.1), ncols=3,
                columnspacing=1.0, handlelength=1.4)  # fmt: skip


def _times(axes: Any, scans: list[Scan]) -> None:
    ways = list(dict.fromkeys(scan.way for scan in scans))[::-1]
    counts = sorted({scan.n_threads for scan in scans})
    height = 0.8 / len(counts)
    for number, n_threads in enumerate(counts):
        found = {scan.way: 1e3 * scan.elapsed_s for scan in scans if scan.n_threads == n_threads}
        places = [i + ((len(counts) - 1) / 2 - number) * height for i in range(len(ways))]
        bars = axes.barh(places, [found[way] for way in ways], height * 0.92, edgecolor=INK,
                         color=(DARK, LIGHT, MIDDLE)[number % 3], linewidth=0.6,
                         label=f"{n_threads} thread{'s' * (n_threads > 1)}")  # fmt: skip
        axes.bar_label(bars, fmt="%.0f", fontsize=9, padding=4)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=3,
                handlelength=1.4)  # fmt: skip


def _mib(n_bytes: int | None) -> str:
    return "unknown" if n_bytes is None else f"{n_bytes / 2**20:,.1f} MiB"
