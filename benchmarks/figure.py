"""Figures for the tables: on white, in colors that color-blind readers can distinguish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llama_edu.show.figures.alt_figure import AltFigure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent

#: Four of the eight colors of Okabe and Ito, "Color Universal Design" (2008).
BLUE, ORANGE, GREEN, BLACK = "#0072b2", "#e69f00", "#009e73", "#000000"


def save_figure(
    name: str, alt: str, caption: str, size: tuple[float, float], draw: Callable[[Figure], None]
) -> str:
    """Draw into benchmarks/NAME; returns the Markdown that shows it, or why there is no figure.

    Args:
        alt: a description of the figure, with its numbers. caption: how to read it.
        size: width and height in inches, at 120 pixels per inch.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return "matplotlib is missing from this run; `pip install matplotlib` adds the figure."
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    draw(figure)
    (FOLDER / name).write_bytes(AltFigure(figure, alt).png())
    return f"![{alt}]({name})\n\n{caption}"
