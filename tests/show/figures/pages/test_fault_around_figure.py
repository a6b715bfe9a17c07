"""The strip of pages: every cell and every mark, read back from the figure."""

from __future__ import annotations

import pytest

from llama_edu.experiments.observe.fault_around import FaultAround, Strip

pytest.importorskip("matplotlib")
from llama_edu.show.figures.ink import BLUE, MIDDLE
from llama_edu.show.figures.pages.fault_around import fault_around_figure

LEGEND = 3


def colors(drawn):
    from matplotlib.colors import to_hex

    return [to_hex(patch.get_facecolor()) for patch in drawn.figure.axes[0].patches]


def test_cells_are_colored_by_what_happened_and_faults_are_marked():
    strips = (
        Strip("one $x$", (2, 5, 60), (2, 60), (*range(9), 60, 61)),
        Strip("two", (3,), (3,), (3,)),
    )
    drawn = fault_around_figure(FaultAround(70, 4096, strips, "a record of somewhere"))
    cells = colors(drawn)
    assert len(cells) == 2 * 70 + LEGEND
    first = {page: cells[page] for page in range(70)}
    assert [page for page, color in first.items() if color == BLUE] == [2, 5, 60]
    assert [p for p, color in first.items() if color == MIDDLE] == [0, 1, 3, 4, 6, 7, 8, 61]
    assert [p for p, color in enumerate(cells[70:140]) if color == BLUE] == [3]
    axes = drawn.figure.axes[0]
    marks = [line for line in axes.lines if line.get_marker() == "v"]
    assert len(marks) == 3 + 1  # and one in the legend
    words = [text.get_text() for text in axes.texts]
    assert r"one \$x\$" in words and "3 touched, 2 faults, 11 mapped" in words
    assert "1 touched, 1 fault, 1 mapped" in words and "a record of somewhere" in words
    assert "two: 1 pages touched, 1 faults, 1 pages mapped" in drawn.alt
    assert drawn.png()
