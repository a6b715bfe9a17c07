"""Workers of an engine with one model: what each takes for itself, and how fast each one opened."""

from __future__ import annotations

from llama_edu.errors import RequestError
from llama_edu.experiments.sharing import Sharing
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.ink import DARK, FAINT, INK, LIGHT, MIDDLE, new_figure

_MIB = 2**20


def workers_figure(result: Sharing) -> AltFigure:
    """Bars for each worker: Pss in its three parts within Rss, and the times to open and compute.

    Raises:
        RequestError: the result has no workers.
        LlamaEduError: matplotlib is not installed.
    """
    workers = result.workers[::-1]  # the first one at the top
    if not workers:
        raise RequestError(
            "workers_figure: no workers in the result, expected some; measure with workers=2"
        )
    figure = new_figure("workers_figure", 8, 1.5 + 0.36 * len(workers))
    memory, times = figure.subplots(1, 2)
    names = [f"{worker.how} {worker.number + 1}" for worker in workers]
    parts = (
        ("of its own", LIGHT, [w.private_bytes / _MIB for w in workers]),
        ("its share of libraries", MIDDLE,
         [(w.pss_bytes - w.private_bytes - w.file_pss_bytes) / _MIB for w in workers]),
        ("its share of the model's file", DARK, [w.file_pss_bytes / _MIB for w in workers]),
    )  # fmt: skip
    left = [0.0] * len(workers)
    for label, color, widths in parts:
        memory.barh(names, widths, left=left, color=color, edgecolor=INK, linewidth=0.6,
                    label=label)  # fmt: skip
        left = [start + width for start, width in zip(left, widths, strict=True)]
    rests = [max(0.0, w.rss_bytes / _MIB - end) for w, end in zip(workers, left, strict=True)]
    memory.barh(names, rests, left=left, color=FAINT, edgecolor=INK, linewidth=0.6, linestyle=":",
                label="others' share: Rss ends here")  # fmt: skip
    memory.set_xlabel("MiB of each worker")
    opening = [1e3 * w.open_s for w in workers]
    times.barh(names, opening, color=DARK, edgecolor=INK, linewidth=0.6, label="open")
    times.barh(names, [1e3 * w.first_s for w in workers], left=opening, color=LIGHT,
               edgecolor=INK, linewidth=0.6, label="first pass")  # fmt: skip
    times.set_xlabel("milliseconds")
    for axes in (memory, times):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower center",
                    bbox_to_anchor=(0.45, 1.0))  # fmt: skip
    return AltFigure(figure, _alt(result))


def _alt(result: Sharing) -> str:
    said = "; ".join(
        f"{w.how} {w.number + 1}: Rss {w.rss_bytes / _MIB:.0f} MiB, Pss {w.pss_bytes / _MIB:.0f}, "
        f"of its own {w.private_bytes / _MIB:.0f}, opened in {1e3 * w.open_s:.0f} ms"
        for w in result.workers
    )
    return (
        f"Two bars for each worker that has a model of {result.file_bytes / _MIB:.0f} MiB open: "
        f"its memory in parts, and the time to open and to compute first. {said}."
    )
