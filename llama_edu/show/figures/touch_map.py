"""The page map as a figure that needs no kernel: for stored notebooks, web pages and paper."""

from __future__ import annotations

import textwrap
from typing import Any

from llama_edu.pages.touches import Touches, value_word
from llama_edu.show.figures.grid import PageGrid, scale_color
from llama_edu.show.figures.picture import Picture
from llama_edu.show.runtime.libraries import need
from llama_edu.text import one_line

#: What a page never touched looks like on white.
_NEVER = "#dadada"
_TITLES = {
    "first": "which token needed a page first",
    "last": "which token needed a page last",
    "count": "how many tokens needed a page",
}


def xray_picture(touches: Touches, grid: PageGrid, mode: str, n_steps: int, alt: str) -> Picture:
    """The map after `n_steps` steps, with names, legend, and both readings below.

    Args:
        mode: one of touches.MODES. alt: the words that stand in for the picture.
    Raises:
        LlamaEduError: matplotlib is not installed.
    """
    figures = need("matplotlib.figure", "xray_picture")
    patch = need("matplotlib.patches", "xray_picture").Patch
    dpi, left, above, below = 100, 120, 34, 88
    width, height = grid.width + left + 12, grid.height + above + below
    figure: Any = figures.Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    axes = figure.add_axes(
        (left / width, below / height, grid.width / width, grid.height / height), frameon=False
    )
    axes.imshow(grid.colors(touches.values(mode, n_steps), len(touches)), aspect="auto")
    labels = grid.labels()
    # a dollar sign would begin a formula
    names = [one_line(name).replace("$", r"\$") for _, name in labels]
    axes.set_yticks([top * grid.height + 5 for top, _ in labels], names, fontsize=8)
    axes.set_xticks([])
    axes.tick_params(length=0)
    file_name = one_line(touches.steps[0].record.file_name).replace("$", r"\$")
    axes.set_title(f"{file_name}: {_TITLES[mode]}", fontsize=10)
    n_values = len(touches)
    chosen = sorted({round(i * (n_values - 1) / 4) for i in range(5)})
    patches = [patch(color=scale_color(v, n_values), label=value_word(mode, v)) for v in chosen]
    patches.append(patch(color=_NEVER, label="never"))
    figure.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(left / width, (below - 4) / height),
        ncols=len(patches), fontsize=8, frameon=False, borderaxespad=0, handlelength=1,
    )  # fmt: skip
    summary = touches.summary(n_steps)
    lines = [*textwrap.wrap(summary.true_line, 112), *textwrap.wrap(summary.naive_line, 112)]
    figure.text(left / width, 10 / height, "\n".join(lines), fontsize=8, va="bottom")
    return Picture(figure, alt)
