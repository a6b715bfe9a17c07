"""PageMapView: the map of a text's pages, its replay, and the text around it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from llama_edu.pages.record import Record
from llama_edu.pages.touches import Touches
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.grid import PageGrid
from llama_edu.show.figures.page_map import touches_figure
from llama_edu.show.panels.page_map import html
from llama_edu.show.panels.page_map.cells import CellPicker
from llama_edu.show.panels.page_map.controls import (
    NO_TENSOR,
    TEXT,
    WITHIN,
    PageMapControls,
    mode_options,
)
from llama_edu.show.panels.parts.token_row import TokenRow
from llama_edu.text import one_line


class PageMapView:
    """Draws Touches into the widgets of a PageMapControls, and again when one of them changes.

    It shows a text, whose steps are tokens, or one of its tokens, whose steps are parts of its
    computation. Any thread may call it: it draws under a lock.

    Attributes:
        touches: the steps of the text. within: the parts of token number `token`, or None.
        words: buttons for the tokens around the chosen one. cells: what a click on the map chooses.
        n_frames: maps drawn so far. is_following: whether it is changing the controls itself.
    """

    def __init__(self, controls: PageMapControls, choose: Callable[[int], object]) -> None:
        """Show nothing yet, and observe the controls.

        Args:
            choose: called with the index of the step whose word was pressed.
        """
        self.touches = Touches()
        self.within: Touches | None = None
        self.token = 0
        self.n_frames = 0
        self.words = TokenRow(choose)
        controls.word_row.children = (self.words,)
        self.cells = CellPicker(self._pick)
        controls.map_box.children = (controls.frame, self.cells)
        self._controls = controls
        self._text, self._n_planned = "", 1
        self._grid: PageGrid | None = None
        self._lock = threading.RLock()
        self.is_following = False
        for control in (controls.mode, controls.step_slider, controls.page_slider):
            control.observe(self._on_control, "value")
        controls.tensor.observe(self._on_tensor, "value")

    @property
    def shown(self) -> Touches:
        """The steps that the slider goes through: of the text, or of the token looked into."""
        return self.within or self.touches

    def begin(self, touches: Touches, n_planned: int) -> None:
        """Show other steps from now on.

        Args:
            n_planned: the largest number of steps; the color scale covers all of them.
        """
        with self._lock:
            self.touches, self._n_planned, self._grid = touches, n_planned, None
            self.within, self.token = None, 0

    def end(self) -> None:
        """No more steps will come: the color scale covers those that there are."""
        with self._lock:
            self._n_planned = max(1, len(self.touches))

    def look_within(self, within: Touches, token: int) -> None:
        """From now on, the steps are the parts of this token's computation."""
        with self._lock:
            self.within, self.token = within, token

    def look_at_text(self) -> None:
        """From now on, the steps are the tokens again."""
        with self._lock:
            self.within = None

    def show(self, text: str, *, is_busy: bool) -> None:
        """Bring the map up to date, at the newest step, or at the token that was looked into.

        Args:
            text: prompt and new text so far. is_busy: steps may still come; nothing is replayed.
        """
        with self._lock:
            controls = self._controls
            self._text = text
            controls.looking.layout.display = None if len(self.touches) else "none"
            if not len(self.touches):
                controls.story.value = controls.routers.value = ""
                return
            self._follow(len(self.shown), is_busy)
            self._draw()

    def show_level(self) -> None:
        """Put the choice of the level back to what is shown."""
        with self._lock:
            self.is_following = True
            self._controls.level.value = WITHIN if self.within else TEXT
            self.is_following = False

    def show_token(self, token: int) -> None:
        """The text again, at the step of this index."""
        with self._lock:
            self.within, self.token = None, token
            self._follow(token + 1, is_busy=False)
            self._draw()

    def _follow(self, at: int, is_busy: bool) -> None:
        """Fit the controls to what is shown, and put the slider to step `at`, counted from 1."""
        controls, n_steps = self._controls, len(self.shown)
        self.is_following = True
        try:
            if self._grid is None:
                self._grid = self._laid_out(self.touches.steps[0].record)
            mode = controls.mode.value
            if controls.mode.options != tuple(mode_options(self.shown.noun)):
                controls.mode.options = mode_options(self.shown.noun)
                controls.mode.value = mode
            controls.level.value = WITHIN if self.within else TEXT
            controls.step_slider.max = controls.play.max = n_steps
            controls.step_slider.value = at
            controls.step_slider.disabled = controls.play.disabled = is_busy
            controls.level.disabled = is_busy
            if not is_busy:
                controls.replay_row.settle()
        finally:
            self.is_following = False

    def figure(self, alt: str) -> AltFigure:
        """The map as it is now, as a figure that needs no kernel; `alt` is its text."""
        with self._lock:
            grid = self._grid or PageGrid(self.touches.steps[0].record)
            mode, n_steps = self._controls.mode.value, self._controls.step_slider.value
            return touches_figure(self.shown, grid, mode, n_steps, alt)

    def _laid_out(self, record: Record) -> PageGrid:
        """The grid of a file; also fits names, page slider and list of tensors to this file."""
        grid, controls = PageGrid(record), self._controls
        controls.labels.value = html.labels_html(grid)
        self.cells.lay(grid.layout, grid.left)
        controls.page_slider.max = record.n_pages - 1
        controls.page_row.settle()
        specs = sorted(record.tensors.values(), key=lambda spec: spec.offset)
        controls.tensor.options = [NO_TENSOR] + [
            (one_line(spec.name), spec.offset // record.page_size) for spec in specs
        ]
        return grid

    def _on_control(self, _change: object) -> None:
        if not self.is_following:
            self._draw()

    def _pick(self, page: int) -> None:
        self._controls.page_slider.value = page

    def _on_tensor(self, change: dict[str, Any]) -> None:
        if change["new"] >= 0:
            self._controls.page_slider.value = change["new"]

    def _draw(self) -> None:
        """Draw the map, and the text around it, for the chosen step, colors and page."""
        with self._lock:
            if self._grid is None:
                return
            controls, touches = self._controls, self.shown
            n_steps, mode = controls.step_slider.value, controls.mode.value
            if self.within is None:
                self.token = n_steps - 1
            n_values = len(touches) if self.within else max(self._n_planned, len(touches))
            page = controls.page_slider.value
            controls.frame.value = self._grid.png(touches.values(mode, n_steps), n_values, page)
            self.n_frames += 1
            controls.legend.value = html.legend_html(mode, n_values, self._grid, touches)
            newest = None
            if mode == "now":
                alone = Touches(touches.steps[n_steps - 1 : n_steps]).summary()
                newest = alone.touched_fraction, touches.newest_line(n_steps)
            controls.totals.value = html.summary_html(
                touches.summary(n_steps), newest, touches.noun
            )
            controls.page.value = html.page_html(touches, page, n_steps)
            self._draw_text(n_steps, mode)

    def _draw_text(self, n_steps: int, mode: html.Mode) -> None:
        controls, n_tokens = self._controls, self.token + 1
        controls.routers.value = html.routers_html(self.touches, n_tokens)
        controls.parts.value = html.parts_html(self.within, n_steps) if self.within else ""
        mode = "now" if self.within else mode  # the token that is looked into is marked
        controls.story.value = html.story_html(self.touches, n_tokens, self._text, mode)
        if controls.step_slider.disabled:
            self.words.hide()
        else:
            self.words.show_labels(
                len(self.touches), self.token,
                lambda i: one_line(self.touches.steps[i].text.replace(" ", "␣"), 14) or "(begin)",
                lambda i: f"Look at {self.touches.step_word(i)}",
            )  # fmt: skip
