"""A figure together with the text that replaces it where it cannot be seen."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from llama_edu.show.figures.ink import color_texts
from llama_edu.text import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plain_label(text: str, at_most: int = 80) -> str:
    """A text from a file for matplotlib: on one line, with "$" escaped, which begins a formula."""
    return one_line(text, at_most).replace("$", r"\$")


class AltFigure:
    """A figure made by `ink.new_figure` that a notebook shows as PNG, with its alternative text.

    A terminal prints the text, and tests of notebooks compare it: the bytes of a PNG differ between
    versions of matplotlib.
    """

    def __init__(self, figure: Figure, alt: str) -> None:
        self.figure, self.alt = figure, alt

    def png(self) -> bytes:
        """The figure at its own resolution and without a ground, for light and dark pages alike."""
        color_texts(self.figure)
        buffer = io.BytesIO()
        self.figure.savefig(
            buffer, format="png", transparent=True, dpi="figure", metadata={"Software": None}
        )
        return buffer.getvalue()

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        encoded = base64.b64encode(self.png()).decode("ascii")
        return {"image/png": encoded, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}
