"""Neurons are not pages: the neurons that a token computes against the pages that it touches."""

from __future__ import annotations

from typing import Any

from llama_edu.errors import RequestError
from llama_edu.experiments.observe.layout_records import LayoutPages, NeuronsAndPages, layout_words
from llama_edu.show.figures.alt_figure import AltFigure, plain_label
from llama_edu.show.figures.ink import FAINT, INK, new_figure
from llama_edu.show.figures.slimmer.line_looks import LOOKS, TWO_COLUMNS

#: What the report of 2023 was taken to say.
_TWELFTH = 1 / 12


def kept_shares(found: NeuronsAndPages) -> list[float]:
    """The share of neurons that was really computed, for each share that was to be left out."""
    return [1 - skipped.left_out_fraction for skipped in found.skipped]


def drawn_layouts(found: NeuronsAndPages) -> list[LayoutPages]:
    """The layouts with the file's own type of w_down; of more bits the floor is another one."""
    seen: dict[tuple[str, bool], LayoutPages] = {}
    for layout in found.layouts:
        seen.setdefault((layout.layout, layout.hot_first), layout)
    return list(seen.values())


def neuron_pages_figure(found: NeuronsAndPages) -> AltFigure:
    """A line for each layout; the naive reading, in which neurons were pages; floor and a twelfth.

    Each line ends at the left where a token keeps no neuron, at its floor.

    Raises:
        RequestError: the experiment was interrupted before the first layout.
        LlamaEduError: matplotlib is not installed.
    """
    layouts = drawn_layouts(found)
    if not layouts:
        raise RequestError("neuron_pages_figure: no layout was measured, expected at least one")
    figure = new_figure("neuron_pages_figure", 8, 5.2)
    axes: Any = figure.add_subplot()
    axes.plot(
        [0, 1], [0, 1], color=INK, linewidth=1.4, linestyle=":", label="if neurons were pages"
    )
    for layout, look in zip(layouts, LOOKS, strict=False):
        points = sorted(zip(kept_shares(found), layout.fractions, strict=True))
        x, y = zip((0.0, layout.floor_fraction), *points, strict=True)
        axes.plot(x, y, label=layout_words(layout), **look)
    floor = min(layout.floor_fraction for layout in layouts)
    for height, name in ((floor, "floor: attention and output alone"),
                         (_TWELFTH, "one twelfth, believed in 2023")):  # fmt: skip
        axes.axhline(height, color=INK, linestyle="--", linewidth=1.1, zorder=0)
        axes.annotate(name, (0.995, height), xytext=(0, 3), textcoords="offset points", fontsize=9,
                      ha="right", color=INK)  # fmt: skip
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set_xticks(ticks, ["none", "25%", "50%", "75%", "all"])
    axes.set_yticks(ticks, ["0", "25%", "50%", "75%", "all"])
    axes.set_xlim(-0.02, 1.0)
    axes.set_ylim(0, 1.04)
    axes.set_xlabel("neurons that a token computes (chosen by an oracle)")
    axes.set_ylabel("pages of the file that it touches")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(plain_label(found.subject), fontsize=10, loc="left")
    ncols = 2 if max(len(layout_words(layout)) for layout in layouts) <= TWO_COLUMNS else 1
    figure.legend(frameon=False, fontsize=9, ncols=ncols, loc="outside lower center")
    return AltFigure(figure, _alt(found, layouts, floor))


def neuron_pages_caption(found: NeuronsAndPages) -> str:
    """What the figure shows, in sentences made of its numbers."""
    first, best = found.layouts[0], min(found.layouts, key=lambda of: of.fractions[-1])
    kept = kept_shares(found)[-1]
    return (
        f"{plain_label(found.subject)}: a token that computes {kept:.2f} of the neurons touches "
        f"{first.fractions[-1]:.2f} of the pages {layout_words(first)}, and "
        f"{best.fractions[-1]:.2f} with {layout_words(best)}. Without any neuron it is "
        f"{best.floor_fraction:.2f}; one twelfth would be {_TWELFTH:.3f}. Which neurons a token "
        f"needs is told by an oracle, which no program has."
    )


def _alt(found: NeuronsAndPages, layouts: list[LayoutPages], floor: float) -> str:
    kept = kept_shares(found)
    told = "; ".join(
        f"{layout_words(layout)}: "
        + ", ".join(f"{y:.2f} at {x:.2f}" for x, y in zip(kept, layout.fractions, strict=True))
        for layout in layouts
    )
    cut = " The measurement was interrupted." if found.cut_short else ""
    return (
        f"A line for each layout of {found.subject}: the share of pages that a token touches, "
        f"where it computes so large a share of neurons. {told}. All are far above the straight "
        f"line of equal shares. Horizontal lines: the floor at {floor:.2f}, one twelfth at "
        f"{_TWELFTH:.3f}.{cut}"
    )
