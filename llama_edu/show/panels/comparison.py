"""ComparisonWidget: two texts from one prompt, side by side, and where they diverge."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from llama_edu.bundled import bundled_checkpoint
from llama_edu.errors import LlamaEduError
from llama_edu.html import note_html
from llama_edu.llama import Llama
from llama_edu.show.panels.parts.compared_text import ComparedText, compared_body
from llama_edu.show.panels.parts.panel import Panel
from llama_edu.show.panels.parts.picture import Picture
from llama_edu.show.panels.parts.writer import UPDATE_INTERVAL_S
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.runtime.presence import Presence
from llama_edu.show.runtime.same_cell import stop_predecessors
from llama_edu.show.runtime.weight_types import WeightTypes
from llama_edu.show.runtime.worker import Worker, sentence
from llama_edu.show.story.description import (
    model_line,
    model_name,
    settings_line,
    writing_line,
)
from llama_edu.show.story.still import still_box
from llama_edu.show.story.token_html import choice_label
from llama_edu.show.story.writing import Writing
from llama_edu.text import visible_lines

ipywidgets: Any = import_optional("ipywidgets", "ComparisonWidget")


class ComparisonWidget(Panel):
    """Writes two texts from one prompt, with two weight types or two settings, token by token.

    Every button is a method: `start`, `stop`; `wait` waits for the end. Running the cell again
    stops the earlier comparison; closing the page stops both texts, see Presence.

    Attributes:
        left, right: the two texts, with their controls; e.g. `left.weights.value`.
        prompt, n_tokens: widgets that both sides share.
    """

    def __init__(
        self,
        model: Llama | str | os.PathLike[str] | None = None,
        *,
        tokenizer: str | os.PathLike[str] | None = None,
        prompt: str = "Once upon a time",
        n_tokens: int = 60,
        left: Mapping[str, Any] | None = None,
        right: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the model and build the panel; if the model cannot be opened, the status says why.

        Args:
            model: an open Llama, a path, or None for the bundled checkpoint. What is opened here
                is closed by `close`.
            tokenizer: a vocabulary file, for weights without one.
            left, right: weights, temperature, top_k, top_p, min_p, repeat_penalty, seed by name;
                by default, greedy sampling from the weights as stored. If neither is given: f32
                and q4_0.
        Raises:
            RequestError: an unknown name, or a value out of range.
        """
        if left is None and right is None:
            left, right = {"weights": "f32"}, {"weights": "q4_0"}
        self._worker, self._presence = Worker(self._show), Presence()
        self._model, self._tokenizer = model, tokenizer
        self.types: WeightTypes | None = None
        self._doing = ""
        self.left = ComparedText("left", left or {})
        self.right = ComparedText("right", right or {})
        self._open()
        self._build(prompt, n_tokens)
        stop_predecessors(self)

    def _build(self, prompt: str, n_tokens: int) -> None:
        style = {"description_width": "70px"}
        layout = ipywidgets.Layout(width="100%", max_width="600px")
        self.prompt = ipywidgets.Textarea(
            value=prompt, description="prompt", rows=2, style=style, layout=layout,
            tooltip="How both texts begin",
        )  # fmt: skip
        self.n_tokens = ipywidgets.IntSlider(
            value=n_tokens, min=1, max=max(n_tokens, 500), description="length",
            style=style, layout=layout, tooltip="The largest number of new tokens on each side",
        )  # fmt: skip
        self.start_button = ipywidgets.Button(
            description="Compare", button_style="primary", icon="play",
            tooltip="Write both texts, a token left and a token right in turn",
        )  # fmt: skip
        self.stop_button = ipywidgets.Button(
            description="Stop", icon="stop", disabled=True, tooltip="End before the next token"
        )
        self.start_button.on_click(lambda _: self.start())
        self.stop_button.on_click(lambda _: self.stop())
        self._title, self._status = ipywidgets.HTML(), ipywidgets.HTML()
        row = {"flex_flow": "row wrap", "align_items": "center"}
        super().__init__(
            [self._title, self.prompt, self.n_tokens,
             ipywidgets.HBox([self.start_button, self.stop_button],
                             layout=ipywidgets.Layout(**row)),
             self._status,
             ipywidgets.HBox([self.left, self.right],
                             layout=ipywidgets.Layout(flex_flow="row wrap", grid_gap="0 24px")),
             self._presence.beacon]
        )  # fmt: skip
        self.add_class("llama-edu-comparison")
        self._show()

    @property
    def texts(self) -> tuple[str, str]:
        """The left and the right text, prompt included; "" before the first run."""
        return _text(self.left), _text(self.right)

    @property
    def n_same(self) -> int | None:
        """The number of new tokens before the texts diverge; None if they do not.

        Where one text ends and the other goes on, they diverge, once both are finished.
        """
        if not (self.left.writing and self.right.writing):
            return None
        pairs = zip_longest(self.left.writing.choices, self.right.writing.choices)
        for n, (left, right) in enumerate(pairs):
            if left is None or right is None:
                return None if self._worker.busy else n
            if left.chosen.id != right.chosen.id:
                return n
        return None

    @property
    def reason(self) -> str:
        """Why the left and the right text ended, such as "length, eos"; or "failed: ..."."""
        if self._worker.failure:
            return f"failed: {self._worker.failure}"
        return ", ".join(s.writing.reason for s in (self.left, self.right) if s.writing)

    def start(self) -> ComparisonWidget:
        """Write both texts in the background, as Compare does; while that runs, do nothing."""
        self._worker.start(self._compare, first=self._forget)
        return self

    def stop(self) -> None:
        """End both texts before their next tokens, as Stop does."""
        self._worker.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of both texts; False if `timeout` seconds were too few."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """Stop, wait, remove the panel from the page and close what was opened here."""
        self.stop()
        self.wait()
        super().close()
        if self.types:
            self.types.close()
            self.types = None

    def _open(self) -> None:
        try:
            model = bundled_checkpoint() if self._model is None else self._model
            self.types = WeightTypes(model, self._tokenizer)
            self._worker.failure = ""
        except (LlamaEduError, OSError) as error:
            self._worker.failure = sentence(error)

    def _forget(self) -> None:
        self.left.writing = self.right.writing = None

    def _compare(self) -> None:
        """Write both texts, in the worker's thread: one token left, one token right."""
        if self.types is None:
            self._open()
        if self.types is None:
            raise LlamaEduError(self._worker.failure)
        prompt, n_tokens = self.prompt.value, self.n_tokens.value
        for side in (self.left, self.right):
            self._doing = f"preparing {side.weights.value} weights ..."
            self._show()
            llama = self.types.open(side.weights.value)
            side.writing = Writing(
                llama, prompt, n_tokens, side.settings(), side.sliders["seed"].value,
                stopping=self._worker.stopping,
            )  # fmt: skip
        self._doing = "writing"
        assert self.left.writing and self.right.writing
        shown_at = 0.0
        steps = zip_longest(self.left.writing, self.right.writing)
        for _ in self._presence.guard(steps, self.stop):
            if time.monotonic() - shown_at >= UPDATE_INTERVAL_S:
                self._show()
                shown_at = time.monotonic()

    def _show(self) -> None:
        """Bring every part of the panel up to date."""
        busy = self._worker.busy
        stored = self.types.stored if self.types else None
        self._title.value = note_html(model_line(stored) if stored else "No model is open.")
        self.start_button.disabled, self.stop_button.disabled = busy, not busy
        if self._worker.failure:
            self._status.value = note_html(self._worker.failure, is_error=True)
        else:
            self._status.value = note_html(self.summary)
        n_same = self.n_same
        for side in (self.left, self.right):
            side.show(self._side_note(side), n_same)

    @property
    def summary(self) -> str:
        """One sentence on what is being done, or on how many tokens the texts share."""
        if not (self.left.writing and self.right.writing):
            return self._doing if self._worker.busy else "Press Compare."
        n_same, n_new = self.n_same, len(self.left.writing.choices)
        if n_same is None:
            state = "so far" if self._worker.busy else "to the end"
            return f"The texts are the same {state}: {n_new} new tokens."
        left, right = (_label(side.writing, n_same) for side in (self.left, self.right))
        return f"The first {n_same} new tokens are the same; then {left} left, {right} right."

    def _side_note(self, side: ComparedText) -> str:
        if side.writing is None or self.types is None:
            return note_html("")
        losses = self.types.losses(side.weights.value)
        return "".join(note_html(line) for line in (writing_line(side.writing), *losses))

    def picture(self) -> Picture:
        """Both texts beside each other, as HTML, the first different token marked."""
        if self._worker.failure or self.types is None:
            return super().picture()
        if not (self.left.writing and self.right.writing):
            return super().picture()
        columns = "".join(
            f'<div style="flex: 1 1 270px; min-width: 0">{note_html(heading)}'
            f"{still_box(compared_body(side.writing, self.n_same))}</div>"
            for side, heading in zip((self.left, self.right), self._headings, strict=True)
            if side.writing
        )
        top = note_html(model_line(self.types.stored)) + note_html(self.summary)
        html = f'{top}<div style="display: flex; flex-wrap: wrap; gap: 0 24px">{columns}</div>'
        return Picture(repr(self), html)

    @property
    def _headings(self) -> tuple[str, str]:
        """Weights and settings of the left and of the right text."""
        left, right = (
            f"{side.weights.value}, {settings_line(side.settings())}:"
            for side in (self.left, self.right)
        )
        return left, right

    def __repr__(self) -> str:
        """The text where no widget can be shown; without times, so that it is stable."""
        if self._worker.failure or self.types is None:
            return f"ComparisonWidget: {self._worker.failure or 'closed'}"
        name = model_name(self.types.stored)
        if not (self.left.writing and self.right.writing):
            return (
                f"ComparisonWidget on {name}, nothing written yet.\n"
                f"Its controls appear where a notebook is running; .start().wait() works without "
                f"them."
            )
        left, right = (
            f"{heading}\n{visible_lines(text)}"
            for heading, text in zip(self._headings, self.texts, strict=True)
        )
        return f"ComparisonWidget on {name}. {self.summary}\n\n{left}\n\n{right}"


def _text(side: ComparedText) -> str:
    return side.writing.text if side.writing else ""


def _label(writing: Writing | None, n: int) -> str:
    """New token no. n, counted from 0, in quotes; or "nothing" where the text has ended."""
    if writing is None or n >= len(writing.choices):
        return "nothing"
    return f"“{choice_label(writing.choices, n, writing.tokenizer)}”"
