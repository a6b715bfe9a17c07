"""GenerationStudio: writes a text, goes on, looks ahead, takes an alternative, and saves."""

from __future__ import annotations

import os
from typing import Any, Self

from llama_edu.errors import RequestError
from llama_edu.llama import Llama
from llama_edu.show.panels.parts.alternatives import AlternativePicker
from llama_edu.show.panels.parts.chooser import ModelChooser
from llama_edu.show.panels.parts.controls import EXAMPLE_PROMPTS, Controls, first_values
from llama_edu.show.panels.parts.lookahead_column import LookaheadColumn
from llama_edu.show.panels.parts.saving import SavePanel
from llama_edu.show.panels.parts.story_view import StoryView
from llama_edu.show.panels.parts.token_row import TokenRow
from llama_edu.show.panels.parts.writer import Writer
from llama_edu.show.panels.parts.writer_bar import WriterBar
from llama_edu.show.panels.parts.writer_panel import Model, WriterPanel
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.runtime.same_cell import stop_predecessors
from llama_edu.show.story.token_colors import colored_story_html, legend_html
from llama_edu.show.story.token_html import story_html
from llama_edu.show.story.writing import Writing

ipywidgets: Any = import_optional("ipywidgets", "GenerationStudio")


class GenerationStudio(WriterPanel):
    """Writes texts, goes on with them, shows the alternatives to each token, and takes one.

    Every button is a method: `start`, `stop`, `go_on`, `choose`, `look_ahead`, `take_instead`,
    `save`, `open_model`; `wait` waits for all that runs in the background.

    Attributes:
        bar: title, buttons, status. view: the text and the table of alternatives.
        colored: widget; whether tokens are shaded by their probability.
        alternatives: widget; the other tokens at the chosen place. token_row: widget; buttons.
        chooser: widget; lists models and opens one. saving: widget; the plain text.
    """

    def __init__(
        self,
        model: Model = None,
        *,
        tokenizer: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
        colored: bool = True,
        examples: tuple[str, ...] = EXAMPLE_PROMPTS,
        **values: Any,
    ) -> None:
        """Open the model and build the panel; if the model cannot be opened, the status says why.

        Args:
            model, tokenizer, examples, values: as GenerationWidget.
            folder: a folder of models, which the chooser lists in addition to data/.
            colored: whether tokens are shaded at first.
        Raises:
            RequestError: an unknown name, or a value out of range.
        """
        first = first_values(values)
        self._ahead = LookaheadColumn(self._show_ahead)
        self.writer = Writer(model, tokenizer, self._show, self._ahead.end)
        self.controls = Controls(self.llama.config if self.llama else None, examples, first)
        self._build(colored, folder)
        super().__init__(self._rows())
        self.add_class("llama-edu-generation")
        self._show()
        stop_predecessors(self)

    def _build(self, colored: bool, folder: str | os.PathLike[str] | None) -> None:
        """Make the parts and connect their buttons."""
        self.continue_button = ipywidgets.Button(
            description="Continue", icon="step-forward", disabled=True,
            tooltip="Go on where the text stopped, with the current sampling settings",
        )  # fmt: skip
        self.continue_button.on_click(lambda _: self.go_on())
        self.bar = WriterBar(self.start, self.stop, self.continue_button)
        self.generate_button, self.stop_button = self.bar.generate_button, self.bar.stop_button
        self.colored = ipywidgets.Checkbox(
            value=colored, description="shade by probability", indent=False,
            tooltip="The less likely the model found a token, the darker its background",
            layout=ipywidgets.Layout(width="auto", margin="2px 12px 2px 0"),
        )  # fmt: skip
        self.colored.observe(lambda _: self._show(), "value")
        self._legend = ipywidgets.HTML()
        self.view = StoryView(self._story_html, self._ahead.choice_html)
        self.position_slider = self.view.position_slider
        self.position_slider.observe(self._on_move, "value")
        self.token_row = TokenRow(self._point_at)
        self.alternatives = AlternativePicker(self.take_instead, self.look_ahead)
        self.saving = SavePanel(lambda: self.text)
        self.chooser = ModelChooser(self.open_model, folder)

    def _rows(self) -> list[Any]:
        """The parts from top to bottom."""
        shading = ipywidgets.HBox(
            [self.colored, self._legend],
            layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center"),
        )
        drawers = ipywidgets.Accordion(
            [self.saving, self.chooser], titles=("Copy or save the text", "Open another model")
        )
        return [
            self.bar.title, *self.controls.widgets, self.bar.buttons, self.bar.status,
            self.view.story, shading, self.view.position_row, self.token_row, self.alternatives,
            self._ahead.status, self.view.table, drawers, self.writer.presence.beacon,
        ]  # fmt: skip

    @property
    def can_go_on(self) -> bool:
        """Whether there is a text that was stopped or reached its length."""
        return self.writer.can_go_on

    def go_on(self) -> Self:
        """Go on with a text that was stopped or reached its length, as Continue does.

        The random numbers go on too: with unchanged settings the text is the same as it would have
        been without the stop. A text that cannot go on stays as it is.
        """
        self.writer.go_on(self.controls.values)
        return self

    def choose(self, number: int) -> Self:
        """Look at new token no. `number`, counted from 1, as the slider and the token buttons do.

        Raises:
            RequestError: there is no such token.
        """
        self.view.choose(number)
        return self

    def look_ahead(self) -> Self:
        """Show where each alternative at the chosen place would have led, in the background."""
        choice = self.view.chosen
        if choice and self.writing and self.llama:
            self._ahead.start(self.llama, self.writing, choice, self._show_followed)
        return self

    def take_instead(self, token: int) -> Self:
        """Put another token at the chosen place and go on from there, in the background.

        Raises:
            RequestError: nothing is chosen, or the token is not among the alternatives shown.
        """
        index = self.view.index
        if index is None:
            raise RequestError("no token is chosen; generate a text first, and let it finish")
        self.writer.write_instead(index, token, self.controls.values)
        return self

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> str:
        """Save the text, as Save does; returns a sentence on what was done.

        Raises:
            RequestError: as save_text.
        """
        return self.saving.save(path, replace=replace)

    def open_model(
        self, path: str | os.PathLike[str], tokenizer: str | os.PathLike[str] | None = None
    ) -> Self:
        """Open another model in the background, as Open does; if it fails, the status says why."""
        self.writer.open_other(path, tokenizer, self._fit_controls)
        return self

    def _fit_controls(self, llama: Llama) -> None:
        self.controls.fit(llama.config)

    def stop(self) -> None:
        """End the text before its next token, and end looking ahead."""
        self._ahead.stop()
        super().stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for all that runs in the background; False if `timeout` seconds were too few."""
        return super().wait(timeout) and self._ahead.wait(timeout)

    def _on_move(self, _change: object) -> None:
        """Another place is chosen: end looking ahead from the earlier one."""
        self._ahead.stop()
        self._show_alternatives()

    def _point_at(self, index: int) -> None:
        """What a token button does: choose its token. Without a finished text it does nothing."""
        if self.view.chosen is not None:
            self.position_slider.value = index + 1

    def _show(self) -> None:
        """Bring every part of the panel up to date."""
        self.bar.show(self.writer)
        self.view.show(self.writing, is_busy=self.writer.is_busy)
        self._show_alternatives()
        self.continue_button.disabled = not self.can_go_on
        self._legend.value = legend_html() if self.colored.value else ""
        self.chooser.enable(not self.writer.is_busy)
        if not self.writer.is_busy:
            self.saving.show(self.text)

    def _show_alternatives(self) -> None:
        """Show the alternatives and the neighbors of the chosen token, or that none is chosen."""
        writing, index = self.writing, self.view.index
        if writing is None or index is None:
            self.alternatives.show(None, None)
            self.token_row.hide()
        else:
            self.alternatives.show(writing.choices[index], writing.tokenizer)
            self.token_row.show(writing.choices, index, writing.tokenizer)

    def _show_ahead(self) -> None:
        """Enable the button for looking ahead, or disable it."""
        is_possible = self.view.chosen is not None and not self._ahead.is_busy
        self.alternatives.ahead_button.disabled = not is_possible

    def _show_followed(self) -> None:
        self.view.show_chosen()

    def _story_html(self, writing: Writing | None, marked: int | None) -> str:
        if writing is None or not self.colored.value:
            return story_html(writing, marked)
        return colored_story_html(writing, marked)
