"""A figure of what one token needs: the bytes of each kind of weight, and how many are read."""

from __future__ import annotations

from typing import Any

from llama_edu.llama import Llama
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.ink import DARK, FAINT, INK, new_figure

#: A weight's name without its layer, or else the first letter of that -> the kind it counts as.
_KINDS = {
    "token_embedding": "embedding table",
    "w": "feed-forward",
    "wq": "attention", "wk": "attention", "wv": "attention", "wo": "attention",
    "output": "output", "router": "routers of experts",
}  # fmt: skip
_EXPERTS = "experts"


def needs_by_kind(llama: Llama) -> dict[str, tuple[int, int]]:
    """Kind of weight -> bytes that one token needs, bytes in all; in the order of `llama.weights`.

    Of the embedding table a token needs its own row, and of the experts those that its routers
    choose, as many in every layer. A model without an output matrix of its own multiplies by the
    table instead, and so needs all of it.
    """
    needs: dict[str, tuple[int, int]] = {}
    is_tied = "output" not in llama.weights
    for name, weight in llama.weights.items():
        own = name.rpartition(".")[2]
        if ".experts." in name:
            kind = _EXPERTS
        else:
            kind = "norms" if own.endswith("_norm") else _KINDS.get(own) or _KINDS[own[0]]
        needed, there = needs.get(kind, (0, 0))
        is_looked_up = own == "token_embedding" and not is_tied
        needed += weight[0].nbytes if is_looked_up else weight.nbytes
        needs[kind] = (needed, there + weight.nbytes)
    if _EXPERTS in needs:
        there = needs[_EXPERTS][1]
        used = llama.config.n_experts_per_token
        needs[_EXPERTS] = (there * used // llama.config.n_experts, there)
    return needs


def needs_figure(llama: Llama) -> AltFigure:
    """One bar for each kind of weight: what one token needs is dark, the rest is light.

    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    needs = needs_by_kind(llama)
    figure = new_figure("needs_figure", 7.5, 0.9 + 0.36 * len(needs))
    axes: Any = figure.add_subplot()
    kinds = list(needs)[::-1]
    needed = [needs[kind][0] / 1e6 for kind in kinds]
    rest = [(needs[kind][1] - needs[kind][0]) / 1e6 for kind in kinds]
    axes.barh(kinds, needed, color=DARK, label="needed for one token")
    bars = axes.barh(
        kinds, rest, left=needed, color=FAINT, edgecolor=INK, linewidth=0.6, label="left alone"
    )
    shares = [f"{needs[kind][0] / needs[kind][1]:.1%}".replace(".0%", "%") for kind in kinds]
    axes.bar_label(bars, shares, padding=4, fontsize=9)
    axes.set_xlabel("million bytes")
    axes.set_xlim(0, 1.1 * max(there for _, there in needs.values()) / 1e6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    parts = "; ".join(f"{kind} {a:,} of {b:,} bytes" for kind, (a, b) in needs.items())
    return AltFigure(figure, f"Bars of what one token needs: {parts}.")
