"""The cliff: passes over a file, and tokens of a model, against the memory that is allowed."""

from __future__ import annotations

from typing import Any

from llama_edu.experiments.memory_cap import MemoryCap
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.ink import BLUE, INK, ORANGE, VERMILLION, new_figure

_PASSES = {
    "plain mapping": (BLUE, "o", "-"),
    "keep a part": (ORANGE, "s", "--"),
    "MADV_RANDOM": (VERMILLION, "D", ":"),
}
_TOKENS = {"mmap": (BLUE, "o", "-"), "read()": (ORANGE, "s", "--")}


def memory_cap_figure(result: MemoryCap) -> AltFigure:
    """Passes per second against the cap and, where some were written, tokens per second beside.

    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    n_panels = 2 if result.written else 1
    figure = new_figure("memory_cap_figure", 8, 3.8)
    panels = figure.subplots(1, n_panels, squeeze=False)[0]
    _passes(panels[0], result)
    alt = (
        f"Passes per second over a file of {result.file_bytes:,} bytes on a logarithmic scale "
        f"against the memory allowed: {_said(result)}."
    )
    if result.written:
        _tokens(panels[1], result)
        alt += f" Beside it tokens per second: {_written(result)}."
    return AltFigure(figure, alt)


def _passes(axes: Any, result: MemoryCap) -> None:
    for strategy, (color, mark, line) in _PASSES.items():
        found = [p for p in result.passes if p.strategy == strategy]
        xs, ys = [100 * p.cap_fraction for p in found], [p.passes_per_s for p in found]
        axes.plot(xs, ys, color=color, marker=mark, linestyle=line, label=strategy)
        if strategy == "plain mapping":
            _number(axes, xs, ys, below=True)
    axes.set_yscale("log")
    methods = ", ".join(sorted({p.method for p in result.passes}))
    _finish(axes, f"passes over the file per second ({methods})")
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _tokens(axes: Any, result: MemoryCap) -> None:
    for how, (color, mark, line) in _TOKENS.items():
        found = [w for w in result.written if w.how == how]
        alive = [w for w in found if w.tokens_per_s is not None]
        axes.plot([100 * w.cap_fraction for w in alive], [w.tokens_per_s for w in alive],
                  color=color, marker=mark, linestyle=line, label=how)  # fmt: skip
        if how == "mmap":
            _number(axes, [100 * w.cap_fraction for w in alive], [w.tokens_per_s for w in alive])
        dead = [100 * w.cap_fraction for w in found if w.tokens_per_s is None]
        if dead:
            axes.plot(dead, [0] * len(dead), color=VERMILLION, marker="x", markersize=9,
                      linestyle="none", label=f"{how}: killed", clip_on=False)  # fmt: skip
    axes.set_ylim(bottom=0)
    _finish(axes, "tokens per second")
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def _number(axes: Any, xs: list[float], ys: list[Any], *, below: bool = False) -> None:
    for x, y in zip(xs, ys, strict=True):
        axes.annotate(f"{y:,.3g}", (x, y), xytext=(0, -14) if below else (-4, 6), fontsize=9,
                      ha="center" if below else "right",
                      textcoords="offset points")  # fmt: skip


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.axvline(100, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set_xlabel("memory allowed, % of the file", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.margins(x=0.12, y=0.18)
    axes.spines[["top", "right"]].set_visible(False)


def _said(result: MemoryCap) -> str:
    plain = [p for p in result.passes if p.strategy == "plain mapping"]
    return ", ".join(f"{p.passes_per_s:,.3g} at {p.cap_fraction:.0%}" for p in plain)


def _written(result: MemoryCap) -> str:
    return ", ".join(
        f"{w.how} at {w.cap_fraction:.0%} "
        + (w.outcome if w.tokens_per_s is None else f"{w.tokens_per_s:,.3g}")
        for w in result.written
    )
