"""How lines look: colors of Okabe and Ito that color-blind readers can tell apart, and marks."""

from __future__ import annotations

_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#7d7c78")

#: Color, mark and dashes of up to eight lines: any two differ in more than the color.
LOOKS: tuple[dict[str, object], ...] = tuple(
    {"color": color, "marker": mark, "linestyle": dashes, "linewidth": 2, "markersize": 6}
    for color, mark, dashes in zip(
        _COLORS, "os^DvPXh", ("-", "-", "--", "-.", "-", "--", ":", "-."), strict=True
    )
)

#: For limits and grids.
GRAY = "#6b6b6b"
