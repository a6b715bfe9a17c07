"""RoPE as dials: how far each pair of a head is turned at each position."""

from __future__ import annotations

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.ink import BLUE, FAINT, ORANGE, new_figure

#: Which pairs are shown, as fractions of their number: most of them hardly turn in a short text.
_SHOWN = (0, 1 / 8, 1 / 4, 1 / 2, 1)


def turning_figure(frequencies: np.ndarray, n_positions: int = 12) -> AltFigure:
    """A row of dials for some pairs, fastest first: a hand at each position.

    Args:
        frequencies: (head_dim / 2,) float64, radians per position; see Model.frequencies.
        n_positions: dials in a row.
    Raises:
        RequestError: no frequencies, or fewer than 2 positions.
        LlamaEduError: matplotlib is not installed.
    """
    if not len(frequencies) or n_positions < 2:
        raise RequestError(
            f"turning_figure: {len(frequencies)} frequencies and {n_positions} positions, expected "
            f"at least 1 and 2"
        )
    pairs = np.unique(np.round(np.array(_SHOWN) * (len(frequencies) - 1)).astype(int))
    figure = new_figure("turning_figure", 7.6, 0.75 + 0.46 * len(pairs))
    axes = figure.add_subplot()
    for row, pair in enumerate(pairs):
        for position in range(n_positions):
            angle = frequencies[pair] * position
            _dial(axes, position, row, angle)
    axes.set_xlim(-0.6, n_positions - 0.4)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.set_aspect("equal")
    axes.set_xticks(range(n_positions))
    axes.set_xlabel("position")
    turns = [2 * np.pi / frequencies[pair] for pair in pairs]
    axes.set_yticks(
        range(len(pairs)),
        [f"pair {pair}: once around in {t:,.0f}" for pair, t in zip(pairs, turns, strict=True)],
        fontsize=9,
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    words = ", ".join(
        f"pair {pair} once around in {t:,.0f} positions"
        for pair, t in zip(pairs, turns, strict=True)
    )
    return AltFigure(
        figure,
        f"Rows of dials, one hand for each of positions 0 to {n_positions - 1}. All start pointing "
        f"to the right and turn counterclockwise: {words}.",
    )


def _dial(axes: object, x: float, y: float, angle: float) -> None:
    """A circle with its start in orange, the way turned, and a hand; y grows downward."""
    from matplotlib.patches import Circle, Wedge

    radius = 0.4
    axes.add_patch(Circle((x, y), radius, facecolor="none", edgecolor=FAINT))  # type: ignore[attr-defined]
    within = np.degrees(angle) % 360
    axes.add_patch(Wedge((x, y), radius, -within, 0, facecolor=FAINT))  # type: ignore[attr-defined]
    axes.plot([x, x + radius], [y, y], color=ORANGE, linewidth=1)  # type: ignore[attr-defined]
    end = x + radius * np.cos(angle), y - radius * np.sin(angle)
    axes.plot([x, end[0]], [y, end[1]], color=BLUE, linewidth=2)  # type: ignore[attr-defined]
