"""What a model would say after each of its layers: bars, with the words beside them."""

from __future__ import annotations

from collections.abc import Sequence

from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import BLUE, SKY, new_figure
from llama_edu.show.story.token_html import percent


def lens_figure(favorites: Sequence[tuple[int, str, float]]) -> AltFigure:
    """The favorite next token after some numbers of layers, and how sure the model is of it.

    Args:
        favorites: (number of layers, label of the token, its probability) in order.
    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    figure = new_figure("lens_figure", 7.6, 0.8 + 0.34 * len(favorites))
    axes = figure.add_subplot()
    rows = range(len(favorites))
    last = favorites[-1][1]
    colors = [BLUE if label == last else SKY for _, label, _ in favorites]
    axes.barh(rows, [p for _, _, p in favorites], 0.6, color=colors)
    for row, (_, label, probability) in zip(rows, favorites, strict=True):
        axes.text(
            probability + 0.01,
            row,
            f"{plain_label(label, 20)}  {percent(probability)}",
            va="center",
        )
    axes.set_yticks(rows, [f"{n} layer{'s' if n > 1 else ''}" for n, _, _ in favorites])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.22)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_xlabel("probability of the favorite next token")
    axes.spines[["top", "right"]].set_visible(False)
    words = "; ".join(f"after {n}, {label} with {percent(p)}" for n, label, p in favorites)
    return AltFigure(
        figure, f"Bars: the favorite next token of the model cut off after some layers: {words}."
    )
