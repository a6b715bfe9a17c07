"""The routers' choices of a mixture of experts as a strip above its text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from llama_edu.errors import RequestError
from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import new_figure, on
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.story.routed import (
    RoutedToken,
    expert_color,
    routed_choices,
    shared_line,
    shown_layers,
)
from llama_edu.transformer.experts import Choices

#: Tokens side by side, and in a figure; layers in a figure.
_COLUMNS, _MOST_TOKENS, _MOST_LAYERS = 24, 72, 8

#: Sizes in inches: of a cell, of the texts below a strip, of the names at the left.
_CELL, _LINE, _LEFT = 0.295, 0.16, 0.62
_LETTER, _LINE_LETTERS = 0.075, 100


def router_figure(
    choices: Choices,
    texts: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    title: str = "",
) -> AltFigure:
    """A column for each token, a row for each layer: the color and the number of its experts.

    More than 72 tokens are cut, which the figure says.

    Args:
        choices: `experts.choices(llama.trace(tokens, "layers.*.router"), llama.config)`.
        texts: of each token. layers: which ones; by default up to 8 from the first to the last.
    Raises:
        RequestError: another number of texts than of tokens, no token, or a layer there is not.
        LlamaEduError: matplotlib is not installed.
    """
    tokens = routed_choices(choices, texts)
    n_layers = len(choices.experts)
    layers = shown_layers(n_layers, _MOST_LAYERS) if layers is None else list(layers)
    wrong = [layer for layer in layers if not 0 <= layer < n_layers]
    if not tokens or not layers or wrong:
        raise RequestError(
            f"router_figure: {len(tokens)} tokens and layers {layers}, expected at least one of "
            f"each, and layers 0 to {n_layers - 1}"
        )
    shown = tokens[:_MOST_TOKENS]
    k = choices.experts.shape[2]
    strips = [shown[first : first + _COLUMNS] for first in range(0, len(shown), _COLUMNS)]
    said = shared_line(tokens, choices.n_experts, layers)
    said = f"{said[0].upper()}{said[1:]}."
    if len(shown) < len(tokens):
        said += f" The first {len(shown)} of {len(tokens)} tokens are drawn."
    lines = textwrap.wrap(said, _LINE_LETTERS)
    size = len(layers) * (k * _LINE + 0.05)
    below = 0.2 + _LETTER * max(len(token.text) for token in shown)
    height = len(strips) * (size + below) + 0.4 + _LINE * len(lines)
    figure = new_figure("router_figure", 8, height, layout=None)
    top = 0.32
    for strip in strips:
        box = (_LEFT / 8, 1 - (top + size) / height, _COLUMNS * _CELL / 8, size / height)
        _draw(figure.add_axes(box), strip, layers, k)
        top += size + below
    figure.text(_LEFT / 8, 1 - 0.2 / height, plain_label(title), fontsize=10)
    figure.text(_LEFT / 8, 0.06 / height, "\n".join(lines), fontsize=8, va="bottom")
    return AltFigure(figure, _alt(tokens, layers, said))


def _draw(axes: Any, tokens: Sequence[RoutedToken], layers: Sequence[int], k: int) -> None:
    """One strip: cells of k colored parts, the layers at the left, the texts below."""
    patches = import_optional("matplotlib.patches", "router_figure")
    step = k + 0.3  # a gap between two layers
    for row, layer in enumerate(layers):
        for column, token in enumerate(tokens):
            for part, expert in enumerate(token.experts[layer]):
                color, _ = expert_color(expert)
                y = row * step + part
                axes.add_patch(patches.Rectangle((column, y), 0.94, 0.96, color=color, linewidth=0))
                axes.text(column + 0.47, y + 0.5, str(expert), color=on(color), fontsize=8,
                          ha="center", va="center_baseline")  # fmt: skip
    axes.set_xlim(0, _COLUMNS)
    axes.set_ylim(len(layers) * step, 0)
    axes.set_yticks([row * step + k / 2 for row in range(len(layers))],
                    [f"layer {layer}" for layer in layers], fontsize=8)  # fmt: skip
    axes.set_xticks(
        [column + 0.47 for column in range(len(tokens))],
        [plain_label(token.text) for token in tokens], fontsize=8, rotation=90,
    )  # fmt: skip
    axes.tick_params(length=0, pad=2)
    axes.spines[:].set_visible(False)


def _alt(tokens: Sequence[RoutedToken], layers: Sequence[int], said: str) -> str:
    first = "; ".join(
        f"layer {layer}: " + ", ".join(map(str, tokens[0].experts[layer])) for layer in layers[:3]
    )
    return (
        f"A strip of {len(tokens)} tokens with a row for each of {len(layers)} layers: the numbers "
        f"of the experts that computed each token, in colors. {said} The "
        f"first token, {tokens[0].text}, was computed in {first}."
    )
