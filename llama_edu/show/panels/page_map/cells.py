"""CellPicker: a click on a cell of the map, without any JavaScript of our own.

An image of ipywidgets does not say where it was clicked, but a slider does: a click on its track
moves it there. So a transparent slider lies over each line of cells, with a step for each cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_edu.show.figures.page_layout import PageLayout
from llama_edu.show.runtime.optional import import_optional

ipywidgets: Any = import_optional("ipywidgets", "PageMapWidget")

#: A line of a slider is at least so high; lower lines of cells share one.
_LEAST_PX = 8

# A track runs from half a cell before the first one, where the slider rests at -1, to the middle of
# the last: the step nearest to a click is the cell under it, as it is right of the track's end.
_STYLE = """<style>
.llama-edu-cells .widget-slider {{ width: 100%; height: 100%; min-width: 0; margin: 0; padding: 0;
  opacity: 0; cursor: crosshair }}
.llama-edu-cells .slider-container {{ width: 100%; height: 100%; min-width: 0; margin: 0;
  padding: 0; overflow: visible }}
.llama-edu-cells .noUi-target {{ width: 100%; height: 100%; margin: 0; padding: 0; border: 0 }}
.llama-edu-cells .noUi-base {{ height: 100%; width: 100%; margin-left: calc(-50% / {columns}) }}
.llama-edu-cells .noUi-base::before {{ content: ""; position: absolute; top: 0; bottom: 0;
  left: 0; right: calc(-50% / {columns}) }}
.llama-edu-cells .noUi-handle {{ display: none }}
</style>"""


class CellPicker(ipywidgets.GridBox):
    """Lies over the image of a map; a click calls `choose` with the first page of the cell."""

    def __init__(self, choose: Callable[[int], object]) -> None:
        """Nothing to click yet.

        Args:
            choose: called with a page of the file.
        """
        self._choose = choose
        self._pages: dict[tuple[int, int], int] = {}
        super().__init__(
            layout=ipywidgets.Layout(
                grid_area="1 / 1 / 2 / 2",
                width="100%",
                height="100%",
                margin="0",
                overflow="hidden",
            )
        )
        self.add_class("llama-edu-cells")

    def lay(self, layout: PageLayout, left: int) -> None:
        """Lay a slider over each line of cells, or over a few lines where they are low.

        Args:
            left: pixels of the image before the cells.
        """
        self._pages = layout.first_pages()
        n_lines = -(-_LEAST_PX // layout.cell_px)
        groups: list[list[int]] = []
        begins: list[int] = []
        heights: list[int] = []
        for row, top in enumerate(layout.tops.tolist()):
            is_next = begins and top == begins[-1] + heights[-1]
            if is_next and len(groups[-1]) < n_lines:
                groups[-1].append(row)
                heights[-1] += layout.cell_px
            else:
                groups.append([row])
                begins.append(top)
                heights.append(layout.cell_px)
        rows, places, at = [], [], 0
        for begin, height in zip(begins, heights, strict=True):
            if begin > at:
                rows.append(begin - at)
            rows.append(height)
            places.append(len(rows))
            at = begin + height
        rows.append(max(0, layout.height - at))
        width = layout.columns * layout.cell_px
        self.layout.grid_template_rows = " ".join(f"minmax(0, {n}fr)" for n in rows)
        self.layout.grid_template_columns = f"minmax(0, {left}fr) minmax(0, {width}fr)"
        style = ipywidgets.HTML(
            _STYLE.format(columns=layout.columns),
            layout=ipywidgets.Layout(display="none"),
        )
        self.children = (
            style,
            *(
                self._slider(group[len(group) // 2], place, layout.columns)
                for group, place in zip(groups, places, strict=True)
            ),
        )

    def _slider(self, row: int, place: int, columns: int) -> Any:
        slider = ipywidgets.IntSlider(
            value=-1, min=-1, max=columns - 1, readout=False, tooltip="Look at this page",
            layout=ipywidgets.Layout(grid_area=f"{place} / 2 / {place + 1} / 3"),
        )  # fmt: skip

        def clicked(change: dict[str, int]) -> None:
            if change["new"] >= 0:
                slider.value = -1  # so that a second click on this cell is a change too
                self.pick(row, change["new"])

        slider.observe(clicked, "value")
        return slider

    def pick(self, row: int, column: int) -> None:
        """Choose the cell at this place; where there is none, the last one before it."""
        while column > 0 and (row, column) not in self._pages:
            column -= 1
        if (row, column) in self._pages:
            self._choose(self._pages[row, column])
