"""How up to eight lines look: colors, marks and dashes."""

from __future__ import annotations

from llama_edu.show.figures.ink import LINES

#: Color, mark and dashes of up to eight lines: any two differ in more than the color.
LOOKS: tuple[dict[str, object], ...] = tuple(
    {"color": color, "marker": mark, "linestyle": dashes, "linewidth": 2, "markersize": 6}
    for color, mark, dashes in zip(
        LINES, "os^DvPXh", ("-", "-", "--", "-.", "-", "--", ":", "-."), strict=True
    )
)

#: The longest name of a line that leaves room for a second column in the legend.
TWO_COLUMNS = 52
