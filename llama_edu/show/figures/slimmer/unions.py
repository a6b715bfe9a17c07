"""What neighboring tokens need together, as lines that grow with the number of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_edu.errors import RequestError
from llama_edu.experiments.experts import LONGEST, Experts
from llama_edu.experiments.neurons import Neurons
from llama_edu.experiments.observe.layout_records import NeuronsAndPages, layout_words
from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import FAINT, INK, new_figure
from llama_edu.show.figures.slimmer.line_looks import LOOKS, TWO_COLUMNS

#: Name of a line -> number of neighboring tokens -> the share that they need together, 0 to 1.
Lines = Mapping[str, Mapping[int, float]]


def union_lines(found: Experts | NeuronsAndPages | Neurons) -> dict[str, dict[int, float]]:
    """The lines of an experiment, each under the name of what is needed.

    Of NeuronsAndPages and of Neurons those where most neurons are left out.
    """
    if isinstance(found, Experts):
        name = found.subject
        lines = {
            f"{name}: pages of experts": {of.n_tokens: of.expert_fraction for of in found.unions},
            f"{name}: the file": {of.n_tokens: of.file_fraction for of in found.unions},
        }
        if found.dense and found.dense.unions:
            lines[f"{found.dense.subject}, dense: the file"] = dict(found.dense.unions)
        return lines
    if isinstance(found, NeuronsAndPages):
        skipped = f"{100 * found.shares[-1]:g}% skipped" if found.shares else ""
        return {
            f"{layout_words(of)}, {skipped}": dict(of.unions[-1]) for of in found.layouts
        }  # fmt: skip
    lines = {}
    if found.top_tenth:
        lines["neurons in the top tenth"] = {u.n_tokens: u.fraction for u in found.top_tenth.unions}
    for cost in found.costs:
        if cost.way != "fixed" and cost.share == max(other.share for other in found.costs):
            name = f"neurons kept by {cost.way}, {100 * cost.share:g}% left out"
            lines[name] = {union.n_tokens: union.fraction for union in cost.unions}
    return lines


def union_figure(
    *found: Experts | NeuronsAndPages | Neurons | Lines, longest: int = LONGEST, title: str = ""
) -> AltFigure:
    """How much more several tokens need than one: a line for each kind of thing that is needed.

    Args:
        found: experiments, or lines of your own by name; drawn in this order.
        longest: the largest number of tokens to draw.
        title: above the figure.
    Raises:
        RequestError: there is nothing to draw, or more than 8 lines.
        LlamaEduError: matplotlib is not installed.
    """
    lines: dict[str, dict[int, float]] = {}
    for one in found:
        named = one if isinstance(one, Mapping) else union_lines(one)
        lines |= {
            name: {n: of[n] for n in sorted(of) if n <= longest} for name, of in named.items()
        }
    lines = {name: of for name, of in lines.items() if of}
    if not 1 <= len(lines) <= len(LOOKS):
        raise RequestError(f"union_figure: {len(lines)} lines, expected 1 to {len(LOOKS)}")
    ncols = 2 if max(map(len, lines)) <= TWO_COLUMNS else 1
    figure = new_figure("union_figure", 8, 4.1 + 0.2 * -(-len(lines) // ncols))
    axes: Any = figure.add_subplot()
    for (name, of), look in zip(lines.items(), LOOKS, strict=False):
        axes.plot(list(of), list(of.values()), label=plain_label(name, 100), **look)
    lengths = sorted({n for of in lines.values() for n in of})
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{n:,}" for n in lengths])
    axes.minorticks_off()
    axes.set_ylim(0, 1.04)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "all"])
    axes.set_xlabel("neighboring tokens")
    axes.set_ylabel("needed by at least one of them")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.axhline(1, color=INK, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(plain_label(title), fontsize=10, loc="left")
    figure.legend(frameon=False, fontsize=9, ncols=ncols, loc="outside lower center")
    return AltFigure(figure, _alt(lines))


def union_caption(*found: Experts | NeuronsAndPages | Neurons | Lines) -> str:
    """What the figure shows, in sentences made of its numbers."""
    parts = []
    for one in found:
        for name, of in (one if isinstance(one, Mapping) else union_lines(one)).items():
            shown = {n: share for n, share in of.items() if n <= LONGEST}
            if shown:
                first, last = min(shown), max(shown)
                parts.append(
                    f"{plain_label(name)}: {shown[first]:.2f} for {_tokens(first)}, "
                    f"{shown[last]:.2f} for {_tokens(last)}"
                )
    return (
        f"What neighboring tokens of a text need together, mean of all runs of the same length. "
        f"{'; '.join(parts)}."
    )


def _tokens(n: int) -> str:
    return "one token" if n == 1 else f"{n:,}"


def _alt(lines: Lines) -> str:
    told = "; ".join(
        f"{name}: " + ", ".join(f"{share:.2f} for {n:,}" for n, share in of.items())
        for name, of in lines.items()
    )
    return f"Lines of the share that so many neighboring tokens need together. {told}."
