"""Where one head looks: attention as a map, one row for each position and one column for each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import FAINT, SKY, VERMILLION, new_figure
from llama_edu.show.story.token_html import percent

#: More positions would make labels smaller than 9 points at a width of 760 pixels.
_MOST_POSITIONS = 48


def attention_figure(weights: np.ndarray, labels: Sequence[str], name: str = "") -> AltFigure:
    """The attention of one head: the stronger a cell, the more its row looks at its column.

    Args:
        weights: (T, T) float32, each row's sum 1, 0 above the diagonal; see "weights" in tap.py.
        labels: T texts of tokens. name: of the head, for the words.
    Raises:
        RequestError: other shapes, or more positions than can be labeled.
        LlamaEduError: matplotlib is not installed.
    """
    n = len(labels)
    if weights.shape != (n, n) or not 0 < n <= _MOST_POSITIONS:
        raise RequestError(
            f"attention_figure: weights {weights.shape} and {n} labels, expected (T, T) and T, "
            f"with T from 1 to {_MOST_POSITIONS}; take a part of a longer text"
        )
    figure = new_figure("attention_figure", 7.6, 2.0 + 0.155 * n)
    axes = figure.add_subplot()
    # the page shines through where there is little attention, whatever its color
    cells = np.zeros((n, n, 4))
    cells[..., :3] = [int(SKY[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    cells[..., 3] = np.clip(weights, 0, 1) ** 0.5
    axes.imshow(cells, aspect="auto")
    shown = [plain_label(label, 14) or " " for label in labels]
    axes.set_xticks(range(n), shown, rotation=90, fontsize=9)
    axes.set_yticks(range(n), shown, fontsize=9)
    axes.tick_params(length=0, pad=2)
    axes.set_xlabel("is looked at")
    axes.set_ylabel("looks")
    axes.plot([-0.5, n - 0.5], [-0.5, n - 0.5], color=FAINT, linewidth=1)
    axes.set_xlim(-0.5, n - 0.5)
    axes.set_ylim(n - 0.5, -0.5)
    last, at = weights[-1], int(weights[-1].argmax())
    axes.add_patch(_frame(figure, n - 1, n))
    axes.annotate(
        percent(float(last[at])), (at, n - 1), xytext=(at + 0.9, n - 4.2), fontsize=12,
        color=VERMILLION, arrowprops={"arrowstyle": "-|>", "color": VERMILLION},
    )  # fmt: skip
    return AltFigure(figure, _words(weights, labels, name))


def _frame(figure: object, row: int, n: int) -> object:
    """A frame around the last row."""
    from matplotlib.patches import Rectangle

    return Rectangle((-0.5, row - 0.5), n, 1, fill=False, edgecolor=VERMILLION, linewidth=1.5)


def _words(weights: np.ndarray, labels: Sequence[str], name: str) -> str:
    n, last, at = len(labels), weights[-1], int(weights[-1].argmax())
    return (
        f"A map of the attention{f' of {name}' if name else ''}, one row and one column for each "
        f"of {n} tokens; cells above the diagonal, where the future would be, are empty. The last "
        f"token, {labels[-1]}, gives {percent(float(last[at]))} of its attention to {labels[at]}, "
        f"token {at} of {n}."
    )
