"""PageMapView: the map of a text's pages, its replay, and the text around it."""

from __future__ import annotations

import threading
from typing import Any

from llama_edu.pages.record import Record
from llama_edu.pages.touches import Touches
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.grid import PageGrid
from llama_edu.show.figures.page_map import touches_figure
from llama_edu.show.panels.page_map import html
from llama_edu.show.panels.page_map.controls import NO_TENSOR, PageMapControls
from llama_edu.text import one_line


class PageMapView:
    """Draws Touches into the widgets of a PageMapControls, and again when one of them changes.

    Any thread may call it: it draws under a lock.

    Attributes:
        touches: the steps that are shown. n_frames: maps drawn so far.
    """

    def __init__(self, controls: PageMapControls) -> None:
        """Show nothing yet, and observe the controls."""
        self.touches = Touches()
        self.n_frames = 0
        self._controls = controls
        self._text, self._n_planned = "", 1
        self._grid: PageGrid | None = None
        self._lock = threading.RLock()
        self._is_following = False
        for control in (controls.mode, controls.step_slider, controls.page_slider):
            control.observe(self._on_control, "value")
        controls.tensor.observe(self._on_tensor, "value")

    def begin(self, touches: Touches, n_planned: int) -> None:
        """Show other steps from now on.

        Args:
            n_planned: the largest number of steps; the color scale covers all of them.
        """
        with self._lock:
            self.touches, self._n_planned, self._grid = touches, n_planned, None

    def end(self) -> None:
        """No more steps will come: the color scale covers those that there are."""
        with self._lock:
            self._n_planned = max(1, len(self.touches))

    def show(self, text: str, *, is_busy: bool) -> None:
        """Bring the map up to date, at the newest step.

        Args:
            text: prompt and new text so far. is_busy: steps may still come; nothing is replayed.
        """
        with self._lock:
            n_steps, controls = len(self.touches), self._controls
            self._text = text
            controls.looking.layout.display = None if n_steps else "none"
            if not n_steps:
                controls.story.value = controls.routers.value = ""
                return
            self._is_following = True
            try:
                if self._grid is None:
                    self._grid = self._laid_out(self.touches.steps[0].record)
                controls.step_slider.max = controls.play.max = n_steps
                controls.step_slider.value = n_steps
                controls.step_slider.disabled = controls.play.disabled = is_busy
                if not is_busy:
                    controls.replay_row.settle()
            finally:
                self._is_following = False
            self._draw()

    def figure(self, alt: str) -> AltFigure:
        """The map as it is now, as a figure that needs no kernel; `alt` is its text."""
        with self._lock:
            grid = self._grid or PageGrid(self.touches.steps[0].record)
            mode, n_steps = self._controls.mode.value, self._controls.step_slider.value
            return touches_figure(self.touches, grid, mode, n_steps, alt)

    def _laid_out(self, record: Record) -> PageGrid:
        """The grid of a file; also fits names, page slider and list of tensors to this file."""
        grid, controls = PageGrid(record), self._controls
        controls.labels.value = html.labels_html(grid)
        controls.page_slider.max = record.n_pages - 1
        controls.page_row.settle()
        specs = sorted(record.tensors.values(), key=lambda spec: spec.offset)
        controls.tensor.options = [NO_TENSOR] + [
            (one_line(spec.name), spec.offset // record.page_size) for spec in specs
        ]
        return grid

    def _on_control(self, _change: object) -> None:
        if not self._is_following:
            self._draw()

    def _on_tensor(self, change: dict[str, Any]) -> None:
        if change["new"] >= 0:
            self._controls.page_slider.value = change["new"]

    def _draw(self) -> None:
        """Draw the map, and the text around it, for the chosen step, colors and page."""
        with self._lock:
            if self._grid is None:
                return
            controls, touches = self._controls, self.touches
            n_steps, mode = controls.step_slider.value, controls.mode.value
            n_values = max(self._n_planned, len(touches))
            page = controls.page_slider.value
            controls.frame.value = self._grid.png(touches.values(mode, n_steps), n_values, page)
            self.n_frames += 1
            controls.legend.value = html.legend_html(mode, n_values, self._grid)
            newest = None
            if mode == "now":
                alone = Touches(touches.steps[n_steps - 1 : n_steps]).summary()
                newest = alone.touched_fraction, touches.newest_line(n_steps)
            controls.totals.value = html.summary_html(touches.summary(n_steps), newest)
            controls.page.value = html.page_html(touches, page, n_steps)
            controls.routers.value = html.routers_html(touches, n_steps)
            controls.story.value = html.story_html(touches, n_steps, self._text, mode)
