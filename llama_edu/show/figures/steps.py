"""Figures of steps: the error of each, with its cliff; what each layer would say; attention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.reconcile.detective import ALARM, Reconciliation
from llama_edu.reconcile.inside import LogitLens
from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import BLUE, INK, VERMILLION, new_figure, on
from llama_edu.show.runtime.optional import import_optional

#: Errors below are drawn here: a logarithm has no 0.
_FLOOR = 1e-8


def errors_figure(report: Reconciliation, title: str = "") -> AltFigure:
    """The error of every step in the order of the computation: flat, or a cliff where a bug is.

    Raises:
        LlamaEduError: matplotlib is not installed. RequestError: no step was compared.
    """
    if not report.steps:
        raise RequestError(
            "errors_figure: no step was compared, expected some; are the tokens equal?"
        )
    figure = new_figure("errors_figure", 9, 3.8)
    axes: Any = figure.add_subplot()
    names = [step.name for step in report.steps]
    x = np.arange(len(names))
    errors = [np.clip(step.errors, _FLOOR, 1e3) for step in report.steps]
    limit = [ALARM * max(float(np.median(s.rounding)), 6e-8) for s in report.steps]
    median = [float(np.median(e)) for e in errors]
    axes.fill_between(
        x, median, [float(e.max()) for e in errors], color=BLUE, alpha=0.25, linewidth=0,
        label="up to the worst position",
    )  # fmt: skip
    axes.plot(x, median, color=BLUE, label="median position")
    axes.plot(x, limit, color=VERMILLION, linestyle=":", label=f"{ALARM:g} times float32")
    starts = [i for i, name in enumerate(names) if name.endswith(".attention_norm")]
    axes.set_xticks(starts, [name.split(".")[1] for name in (names[i] for i in starts)])
    axes.set_xlabel("layer")
    axes.set_ylabel("relative error")
    axes.set_yscale("log")
    first = report.first
    if first is not None:
        at = names.index(first.name)
        axes.axvline(at, color=VERMILLION, linewidth=0.8)
        side = "right" if at > len(names) / 2 else "left"
        axes.annotate(first.name, (at, 0.93), xycoords=("data", "axes fraction"), ha=side,
                      color=VERMILLION, fontsize=9, xytext=(-4 if side == "right" else 4, 0),
                      textcoords="offset points")  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.14))
    if title:
        figure.suptitle(plain_label(title), fontsize=10)
    subject = f"{title + ': ' if title else ''}the relative error of {len(names)} steps"
    if first is None:
        alt = f"{subject}, a flat line below {_above(errors):.0e}, under the alarm everywhere."
    else:
        before = errors[: names.index(first.name)]
        low = f"below {_above(before):.0e} before" if before else "from the first step on"
        alt = f"{subject}: a cliff at {first.name}, {low}, above the alarm from there on."
    return AltFigure(figure, alt)


def _above(errors: Sequence[np.ndarray]) -> float:
    """A power of ten that all errors are below, with room for what machines round differently."""
    largest = max(float(e.max()) for e in errors)
    return float(10.0 ** np.ceil(np.log10(largest) + 0.5))


def lens_figure(
    lens: LogitLens, pieces: Sequence[str], predicted: Sequence[Sequence[str]]
) -> AltFigure:
    """The likeliest next piece after each layer (upward), for each token of the text.

    Args:
        lens: from reconcile.inside.logit_lens. pieces: the T tokens of the text, as text.
        predicted: the text of lens.ids, in rows.
    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    n_rows, T = lens.ids.shape
    figure = new_figure("lens_figure", max(5, 1.2 + 0.48 * T), max(2.6, 1.1 + 0.24 * n_rows))
    axes: Any = figure.add_subplot()
    colors = import_optional("matplotlib", "lens_figure").colormaps["cividis"]
    axes.imshow(lens.probabilities, cmap="cividis", vmin=0, vmax=1, aspect="auto", origin="lower")
    for layer in range(n_rows):
        for t in range(T):
            axes.text(t, layer, plain_label(predicted[layer][t], 8), ha="center", va="center",
                      fontsize=8,
                      color=on(colors(lens.probabilities[layer, t])))  # fmt: skip
    axes.set_xticks(range(T), [plain_label(piece, 10) for piece in pieces], rotation=60, fontsize=8,
                    ha="right", rotation_mode="anchor")  # fmt: skip
    axes.set_yticks(range(0, n_rows, 1 + n_rows // 16))
    axes.set_ylabel("after layer (0: none)")
    settled = lens.settled
    alt = (
        f"A table: {T} tokens across, {n_rows} rows upward from the embedding to the last layer, "
        f"in each cell the likeliest next piece, lighter where it is likelier. The answer is "
        f"settled after {int(np.median(settled))} of {n_rows - 1} layers for the median token, "
        f"after {int(settled.max())} for the last."
    )
    return AltFigure(figure, alt)


def attention_figure(
    steps: Mapping[str, np.ndarray], layer: int, pieces: Sequence[str], head: int | None = None
) -> AltFigure:
    """Where each position looks: one square for each head of a layer, or one head large.

    Args:
        steps: a trace with "layers.N.weights". pieces: the tokens as text, for one head's axes.
    Raises:
        LlamaEduError: matplotlib is not installed. RequestError: there is no such layer or head.
    """
    name = f"layers.{layer}.weights"
    if name not in steps:
        raise RequestError(f"attention_figure: {name} is not in the trace; trace it first")
    weights = steps[name]
    n_heads, T, _ = weights.shape
    if head is not None and not 0 <= head < n_heads:
        raise RequestError(f"attention_figure: head {head}, expected 0 to {n_heads - 1}")
    heads = range(n_heads) if head is None else [head]
    columns = min(len(heads), 5)
    rows = -(-len(heads) // columns)
    side = 1.9 if head is None else max(4.0, 0.24 * T + 1)
    figure = new_figure("attention_figure", side * columns, side * rows)
    panels = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for axes, h in zip(panels, heads, strict=False):
        axes.imshow(weights[h], cmap="cividis", vmin=0, vmax=1)
        axes.set_title(f"head {h}", fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in panels[len(heads) :]:
        axes.set_axis_off()
    if head is not None:
        labels = [plain_label(piece, 10) for piece in pieces]
        panels[0].set_xticks(range(T), labels, rotation=90, fontsize=7)
        panels[0].set_yticks(range(T), labels, fontsize=7)
        panels[0].set_xlabel("looks at")
    first = [float(weights[h][1:, 0].mean()) if T > 1 else 1.0 for h in heads]
    alt = (
        f"Layer {layer}, {f'{n_heads} heads' if head is None else f'head {head}'}: squares of {T} "
        f"by {T} cells, a row for each position, lighter where it looks; the upper right, the "
        f"future, is dark. The first token gets {min(first):.0%} to {max(first):.0%} of the looks."
    )
    return AltFigure(figure, alt)


def residual_figure(sizes: np.ndarray, moves: np.ndarray) -> AltFigure:
    """The size of each token's numbers after each layer, and how far each layer moves them.

    Args:
        sizes: (n_layers + 1, T) and moves: (n_layers, T), from reconcile.inside.
    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    figure = new_figure("residual_figure", 9, 3.4)
    left, right = figure.subplots(1, 2)
    for axes, numbers, start, label in (
        (left, sizes, 0, "root mean square of x"), (right, moves, 1, "moved, over its size"),
    ):  # fmt: skip
        layers = np.arange(start, start + len(numbers))
        axes.plot(layers, numbers[:, 1:], color=INK, linewidth=0.7)
        axes.plot(layers, numbers[:, 0], color=VERMILLION, linestyle="--", label="first token")
        axes.plot(layers, np.median(numbers, axis=1), color=BLUE, linewidth=2, label="median token")
        axes.set_yscale("log")
        axes.set_xlabel("after layer")
        axes.set_ylabel(label)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    alt = (
        f"Left, the size of x, a line for each token: the median grows from "
        f"{np.median(sizes[0]):.2g} to {np.median(sizes[-1]):.2g} over {len(moves)} layers, "
        f"the first token's to {sizes[:, 0].max():.2g} at most. Right, how far each layer moves "
        f"it: the median {np.median(moves):.2g} of its size."
    )
    return AltFigure(figure, alt)
