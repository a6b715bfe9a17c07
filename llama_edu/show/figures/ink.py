"""One ink for light and dark pages: figures have no ground of their own, and gray text and axes.

The gray and every color for lines and marks has a contrast of at least 3 to 1 with white and with
JupyterLab's dark page, #111. Colors are those of Okabe and Ito, which color-blind readers can tell
apart; two of them are darkened until they can be seen on white. A color alone never tells two
things apart: lightness, marks, dashes or labels do so too.
Source: Okabe and Ito, https://jfly.uni-koeln.de/color/, "Color Universal Design".
"""

from __future__ import annotations

from typing import Any

from llama_edu.show.runtime.optional import import_optional

#: Text, axes and frames: 4.35 to 1 on white, 4.34 to 1 on #111.
INK = "#797979"

#: For lines, marks and bars on the page itself.
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
SKY, ORANGE, OLIVE = "#3a96cc", "#b87f00", "#918a00"  # darkened: lighter ones vanish on white
LINES = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE, INK, OLIVE)

#: For areas that lie side by side and have a frame of INK: far apart in lightness too.
DARK, MIDDLE, LIGHT = BLUE, "#56b4e9", "#f0e442"

#: For areas of what is left over, and for the lines of a grid: the page shines through.
FAINT = (0.5, 0.5, 0.5, 0.28)

#: Text on a light area and on a dark one, whatever the page.
ON_LIGHT, ON_DARK = "#111111", "#ffffff"


def new_figure(caller: str, width: float, height: float, layout: str | None = "constrained") -> Any:
    """An empty matplotlib Figure whose axes and texts will have INK and no ground.

    Text keeps a color that is given to it, other than matplotlib's own black.

    Args:
        caller: the function that draws, for the error. width, height: in inches of 100 pixels;
            a notebook is 720 to 800 pixels wide.
    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    figure = import_optional("matplotlib.figure", caller).Figure(
        figsize=(width, height), dpi=100, layout=layout, facecolor="none"
    )
    figure.add_axobserver(_color_axes)
    return figure


def _color_axes(figure: Any) -> None:
    """Give INK to axes that were just added to a figure, before anything is drawn in them."""
    for axes in figure.axes:
        if axes.get_gid() is None:
            axes.set_gid("ink")
            axes.set_facecolor("none")
            axes.set_prop_cycle(color=LINES)
            axes.tick_params(which="both", colors=INK)
            axes.spines[:].set_edgecolor(INK)


def color_texts(figure: Any) -> None:
    """Give INK to every text that has matplotlib's own color: titles, labels, legends, notes."""
    text = import_optional("matplotlib.text", "a figure").Text
    default = import_optional("matplotlib", "a figure").rcParams["text.color"]
    for found in figure.findobj(lambda artist: isinstance(artist, text)):
        if found.get_color() in (default, "black"):
            found.set_color(INK)


def on(color: Any) -> str:
    """The color of text on an area: ON_LIGHT or ON_DARK, whichever has the higher contrast.

    Args:
        color: any color that matplotlib knows, without transparency.
    """
    to_rgb = import_optional("matplotlib.colors", "a figure").to_rgb
    light = luminance(to_rgb(color)) + 0.05
    return ON_LIGHT if light / (luminance(to_rgb(ON_LIGHT)) + 0.05) > 1.05 / light else ON_DARK


def luminance(rgb: tuple[float, float, float]) -> float:
    """Relative luminance of sRGB numbers from 0 to 1.

    Source: WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance.
    """
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
