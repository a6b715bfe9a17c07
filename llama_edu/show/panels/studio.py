"""GenerationStudio: a GenerationWidget that goes on, looks ahead, takes another way, and saves."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from llama_edu.errors import RequestError
from llama_edu.html import note_html
from llama_edu.llama import Llama, load
from llama_edu.show.panels.alternatives import AlternativePicker
from llama_edu.show.panels.chooser import ModelChooser
from llama_edu.show.panels.generation import GenerationWidget
from llama_edu.show.panels.saving import SavePanel
from llama_edu.show.panels.token_row import TokenRow
from llama_edu.show.runtime.libraries import need
from llama_edu.show.runtime.worker import Worker
from llama_edu.show.story.lookahead import look_ahead
from llama_edu.show.story.token_colors import colored_story_html, legend_html
from llama_edu.show.story.token_html import choice_html, story_html
from llama_edu.show.story.writing import Choice, Writing

ipywidgets: Any = need("ipywidgets", "GenerationStudio")

#: A text that ended so can go on.
_CAN_GO_ON = ("stopped", "length")


class GenerationStudio(GenerationWidget):
    """Writes texts, goes on with them, shows the ways not taken and takes them.

    Every button is a method: `start`, `stop`, `go_on`, `choose`, `look_ahead`, `take_instead`,
    `save`, `open_model`; `wait` waits for whatever runs in the background.

    Attributes:
        colored: widget; whether tokens are shaded by their probability.
        alternatives: widget; what could have stood at the chosen place. token_row: widget; buttons.
        chooser: widget; lists models and opens one. saving: widget; the plain text.
    """

    children: Any

    def __init__(
        self,
        model: Llama | str | os.PathLike[str] | None = None,
        *,
        folder: str | os.PathLike[str] | None = None,
        colored: bool = True,
        **kwargs: Any,
    ) -> None:
        """Open the model and build the panel.

        Args:
            folder: a folder of models, for the chooser to list besides data/.
            colored: whether tokens are shaded to begin with.
            kwargs: all that GenerationWidget takes.
        """
        self._ahead = Worker(self._show_ahead)
        self._followed: tuple[Choice, dict[int, str]] | None = None
        self._build(colored, folder)
        super().__init__(model, **kwargs)
        *above, buttons, status, story, slider, table, beacon = self.children
        buttons.children = [*buttons.children[:-1], self.continue_button, buttons.children[-1]]
        shading = ipywidgets.HBox(
            [self.colored, self._legend],
            layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center"),
        )
        drawers = ipywidgets.Accordion(
            [self.saving, self.chooser], titles=("Copy or save the text", "Open another model")
        )
        self.children = [
            *above, buttons, status, story, shading, slider, self.token_row, self.alternatives,
            self._ahead_status, table, drawers, beacon,
        ]  # fmt: skip

    def _build(self, colored: bool, folder: str | os.PathLike[str] | None) -> None:
        """Make the widgets that a GenerationWidget has not."""
        self.continue_button = ipywidgets.Button(
            description="Continue", icon="step-forward", disabled=True,
            tooltip="Go on where the text stopped, with the sampling settings as they are now",
        )  # fmt: skip
        self.continue_button.on_click(lambda _: self.go_on())
        self.colored = ipywidgets.Checkbox(
            value=colored, description="shade by probability", indent=False,
            tooltip="The less likely the model found a token, the darker its ground",
            layout=ipywidgets.Layout(width="auto", margin="2px 12px 2px 0"),
        )  # fmt: skip
        self.colored.observe(lambda _: self._show(), "value")
        self._legend = ipywidgets.HTML()
        self.token_row = TokenRow(self._point_at)
        self.alternatives = AlternativePicker(self.take_instead, self.look_ahead)
        self._ahead_status = ipywidgets.HTML()
        self.saving = SavePanel(lambda: self.text)
        self.chooser = ModelChooser(self.open_model, folder)

    def go_on(self) -> GenerationStudio:
        """Go on with a text that was stopped or reached its length, as Continue does.

        The random numbers go on too: with unchanged settings the text becomes the one that it
        would have been without the stop. A text that cannot go on stays as it is.
        """
        if self.can_go_on:
            self._worker.start(self._go_on)
        return self

    @property
    def can_go_on(self) -> bool:
        """Whether there is a text that was stopped or reached its length."""
        writing = self._writing
        return bool(writing and not self._worker.busy and writing.reason in _CAN_GO_ON)

    def choose(self, number: int) -> GenerationStudio:
        """Look at new token no. `number`, counted from 1, as the slider and the token buttons do.

        Raises:
            RequestError: there is no such token.
        """
        n_new = len(self._writing.choices) if self._writing else 0
        if not 1 <= number <= n_new:
            raise RequestError(f"new token no. {number}: the text has {n_new} of them")
        self.position_slider.value = number
        return self

    def look_ahead(self) -> GenerationStudio:
        """Show where each alternative at the chosen place would have led, in the background."""
        choice = self._chosen()
        if choice is not None:
            followed: dict[int, str] = {}
            self._ahead.start(
                lambda: self._look_ahead(choice, followed),
                first=lambda: setattr(self, "_followed", (choice, followed)),
            )
        return self

    def take_instead(self, token: int) -> GenerationStudio:
        """Put another token at the chosen place and go on from there, in the background.

        Raises:
            RequestError: nothing is chosen, or the token is not among the alternatives shown.
        """
        if self._chosen() is None or self._writing is None:
            raise RequestError("no token is chosen; generate a text first, and let it finish")
        kept = self._writing.instead(self.position_slider.value - 1, token)
        self._worker.start(lambda: self._rewrite(kept, self.controls.seed.value))
        return self

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> str:
        """Save the text, as Save does; returns a sentence about it.

        Raises:
            RequestError: there is no text yet, the file exists already, or cannot be written.
        """
        return self.saving.save(path, replace=replace)

    def open_model(
        self, path: str | os.PathLike[str], tokenizer: str | os.PathLike[str] | None = None
    ) -> GenerationStudio:
        """Open another model in the background, as Open does; one that cannot be is said."""
        self._worker.start(lambda: self._open_other(path, tokenizer))
        return self

    def stop(self) -> None:
        """End the text before its next token, and looking ahead too."""
        self._ahead.stop()
        super().stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for whatever runs in the background; False if `timeout` seconds were too few."""
        return super().wait(timeout) and self._ahead.wait(timeout)

    def _prepare(self) -> Writing:
        self._stop_looking()
        return super()._prepare()

    def _go_on(self) -> None:
        writing = self._writing
        if writing:
            self._rewrite(writing.choices, writing.generation.rng)

    def _rewrite(self, kept: list[Choice], seed: Any) -> None:
        """Write a text that begins as the last one did, in the worker's thread."""
        self._stop_looking()
        old = self._writing
        if old is None or self.llama is None:
            return
        values = self.controls.values() | {"prompt": old.prompt, "seed": seed}
        self._writing = Writing(
            self.llama, kept=kept, cache=old.generation.cache, stopping=self._worker.stopping,
            **values,
        )  # fmt: skip
        self._write(self._writing)

    def _open_other(
        self, path: str | os.PathLike[str], tokenizer: str | os.PathLike[str] | None
    ) -> None:
        self._stop_looking()
        other = load(path, tokenizer=tokenizer)
        old, was_opened_here = self.llama, not isinstance(self._model, Llama)
        self._model, self._tokenizer, self.llama = path, tokenizer, other
        self._writing = None
        self.controls.fit(other.config)
        if old and was_opened_here:
            with contextlib.suppress(BufferError):  # somebody holds a weight: theirs to drop
                old.close()

    def _look_ahead(self, choice: Choice, followed: dict[int, str]) -> None:
        """Fill the table's last column row by row, in the thread of looking ahead."""
        writing, llama = self._writing, self.llama
        if writing is None or llama is None:
            return
        tokens = dict.fromkeys([*(other.id for other in choice.likeliest), choice.chosen.id])
        for token, text in look_ahead(
            llama, writing.tokens[: choice.position], list(tokens),
            cache=writing.generation.cache, stopping=self._ahead.stopping,
        ):  # fmt: skip
            followed[token] = text
            if choice is self._chosen():
                self._alternatives.value = self._choice_html(choice)

    def _stop_looking(self) -> None:
        """Looking ahead reads the cache that a text is about to change."""
        self._ahead.stop()
        self._ahead.wait()
        self._ahead.failure = ""

    def _chosen(self) -> Choice | None:
        """What the slider points at; None where there is no finished text."""
        writing = self._writing
        if writing is None or self._worker.busy or not writing.choices:
            return None
        return writing.choices[min(self.position_slider.value, len(writing.choices)) - 1]

    def _point_at(self, index: int) -> None:
        """What a token button does; one that is pressed too late does nothing."""
        if self._chosen() is not None:
            self.position_slider.value = index + 1

    def _show(self) -> None:
        super()._show()
        self.continue_button.disabled = not self.can_go_on
        self._legend.value = legend_html() if self.colored.value else ""
        self.chooser.enable(not self._worker.busy)
        if self._chosen() is None:
            self.alternatives.show(None, None)
            self.token_row.hide()
        if not self._worker.busy:
            self.saving.show(self.text)

    def _show_position(self, change: object = None) -> None:
        if change is not None:
            self._ahead.stop()
        super()._show_position(change)
        writing, choice = self._writing, self._chosen()
        if writing and choice:
            self.alternatives.show(choice, writing.tokenizer)
            self.token_row.show(
                writing.choices,
                min(self.position_slider.value, len(writing.choices)) - 1,
                writing.tokenizer,
            )

    def _show_ahead(self) -> None:
        """Say how looking ahead fares."""
        self.alternatives.ahead_button.disabled = self._ahead.busy or self._chosen() is None
        if self._ahead.failure:
            self._ahead_status.value = note_html(self._ahead.failure, is_error=True)
        else:
            self._ahead_status.value = note_html("Looking ahead ...") if self._ahead.busy else ""

    def _story_html(self, marked: int | None) -> str:
        if self._writing is None or not self.colored.value:
            return story_html(self._writing, marked=marked)
        return colored_story_html(self._writing, marked=marked)

    def _choice_html(self, choice: Choice) -> str:
        if self._writing is None:
            return ""
        looked_at, followed = self._followed or (None, None)
        return choice_html(
            choice, self._writing.tokenizer, followed if looked_at is choice else None
        )
