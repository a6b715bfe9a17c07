"""GenerationWidget: a prompt, the sampling controls, and a text that appears as it is made.

A click may arrive on any of the kernel's threads, so the handlers only start a thread or set an
event. The worker thread never prints and never makes widgets: it assigns to the ones that exist.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from llama_edu.bundled import bundled_checkpoint
from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.html import note_html
from llama_edu.llama import Llama, load
from llama_edu.show.panels.controls import EXAMPLE_PROMPTS, Controls
from llama_edu.show.panels.range_box import RangeBox
from llama_edu.show.runtime.libraries import need
from llama_edu.show.runtime.presence import Presence
from llama_edu.show.runtime.same_cell import stop_predecessors
from llama_edu.show.runtime.worker import Worker, sentence
from llama_edu.show.story.description import (
    REASONS,
    model_line,
    model_name,
    writing_line,
)
from llama_edu.show.story.token_html import choice_html, story_html
from llama_edu.show.story.writing import Choice, Writing
from llama_edu.text import visible_lines
from llama_edu.transformer.sampling import SamplingSettings

ipywidgets: Any = need("ipywidgets", "GenerationWidget")

#: Seconds between two updates of the text on the screen.
UPDATE_INTERVAL_S = 0.1


class GenerationWidget(ipywidgets.VBox):
    """Writes texts with a model, shows them as they come, and what else could have come.

    The buttons and the methods do the same: `start`, `stop`, `wait`. `run` needs no widgets on the
    screen: it prints in the cell that calls it, and the kernel's interrupt ends it. Running the
    cell again that made a widget stops the text of the one before; a text whose page has been
    closed stops by itself, see Presence.

    Attributes:
        llama: the open model, or None where it could not be opened; `reason` then says why.
        controls: the prompt and the sliders; set e.g. `controls.temperature.value`.
    """

    def __init__(
        self,
        model: Llama | str | os.PathLike[str] | None = None,
        *,
        tokenizer: str | os.PathLike[str] | None = None,
        prompt: str = "Once upon a time",
        n_tokens: int = 256,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repeat_penalty: float = 1.0,
        seed: int = 1,
        pace: int = 0,
        examples: tuple[str, ...] = EXAMPLE_PROMPTS,
    ) -> None:
        """Open the model and build the controls; a model that cannot be opened is said in words.

        Args:
            model: an open Llama, a path, or None for the bundled checkpoint. What is opened here
                is closed by `close`.
            tokenizer: for a path to weights that carry no vocabulary.
            pace: at most so many tokens per second, for eyes to follow; 0 does not slow down.
        """
        self._worker = Worker(self._show)
        self._presence = Presence()
        self._writing: Writing | None = None
        self._model, self._tokenizer = model, tokenizer
        self.llama: Llama | None = None
        SamplingSettings(temperature, top_k, top_p, min_p, repeat_penalty)  # refused in words
        self._open()
        self.controls = Controls(
            self.llama.config if self.llama else None,
            examples,
            prompt=prompt,
            n_tokens=n_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            seed=seed,
            pace=pace,
        )
        self._title = ipywidgets.HTML()
        self.generate_button = ipywidgets.Button(
            description="Generate", button_style="primary", icon="play", tooltip="Write a text"
        )
        self.stop_button = ipywidgets.Button(
            description="Stop", icon="stop", disabled=True, tooltip="End before the next token"
        )
        self._progress = ipywidgets.IntProgress(
            min=0, max=1, layout=ipywidgets.Layout(flex="1 1 120px", width="auto")
        )
        self._status = ipywidgets.HTML()
        self._story = ipywidgets.HTML()
        self.position_slider = ipywidgets.IntSlider(
            description="new token no.",
            min=1,
            max=1,
            disabled=True,
            tooltip="Which new token to look at: what else could have stood there?",
            style={"description_width": "110px"},
            layout=ipywidgets.Layout(flex="1 1 auto", width="auto"),
        )
        self._position_row = RangeBox(self.position_slider, width="100%", max_width="600px")
        self._alternatives = ipywidgets.HTML()
        self.generate_button.on_click(lambda _: self.start())
        self.stop_button.on_click(lambda _: self.stop())
        self.position_slider.observe(self._show_position, "value")
        buttons = ipywidgets.HBox(
            [self.generate_button, self.stop_button, self._progress],
            layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center"),
        )
        super().__init__(
            [self._title, *self.controls.widgets, buttons, self._status, self._story,
             self._position_row, self._alternatives, self._presence.beacon]
        )  # fmt: skip
        self.add_class("llama-edu-generation")
        self._show()
        stop_predecessors(self)

    @property
    def text(self) -> str:
        """The prompt and what followed; "" before the first run."""
        return self._writing.text if self._writing else ""

    @property
    def tokens(self) -> list[int]:
        """The ids of `text`, BOS included; empty before the first run."""
        return self._writing.tokens if self._writing else []

    @property
    def reason(self) -> str:
        """Why the text ended: eos, length, context, stopped, "failed: ..."; "" while it is made."""
        if self._worker.failure:
            return f"failed: {self._worker.failure}"
        return self._writing.reason if self._writing else ""

    def start(self) -> GenerationWidget:
        """Begin a text in the background, as Generate does; while one is written, do nothing."""
        self._worker.start(lambda: self._write(self._prepare()), first=self._forget)
        return self

    def stop(self) -> None:
        """End the text before its next token, as Stop does."""
        self._worker.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the background text; False if `timeout` seconds were too few."""
        return self._worker.wait(timeout)

    def run(self) -> str:
        """Write a text in this cell, printing it as it comes; interrupting the kernel ends it.

        Returns:
            The whole text, prompt included.
        Raises:
            RequestError: the widget is already writing. Any error of the generation itself.
        """
        with self._worker.foreground(first=self._forget) as is_free:
            if not is_free:
                raise RequestError(
                    "GenerationWidget: is writing already; call .stop() and .wait() first"
                )
            try:
                writing = self._prepare()
                print(visible_lines(writing.prompt), end="", flush=True)
                for text in self._pieces(writing):
                    print(visible_lines(text), end="", flush=True)
            except KeyboardInterrupt:
                if self._writing:
                    self._writing.end("stopped")
            finally:
                print()
        return self.text

    def close(self) -> None:
        """Stop, wait, take the widget off the page and close the model if it was opened here."""
        self.stop()
        self.wait()
        super().close()
        if self.llama and not isinstance(self._model, Llama):
            self.llama.close()
            self.llama = None

    def _open(self) -> None:
        """Open the model where that has not been done; failing is remembered, not raised."""
        try:
            if isinstance(self._model, Llama):
                self.llama = self._model
            else:
                path = bundled_checkpoint() if self._model is None else self._model
                self.llama = load(path, tokenizer=self._tokenizer)
            self._worker.failure = ""
        except (LlamaEduError, OSError) as error:
            self._worker.failure = sentence(error)

    def _forget(self) -> None:
        self._writing = None

    def _prepare(self) -> Writing:
        """The text that the controls ask for, not begun."""
        if self.llama is None:
            self._open()
        if self.llama is None:
            raise LlamaEduError(self._worker.failure)
        self._writing = Writing(
            self.llama, stopping=self._worker.stopping, **self.controls.values()
        )
        return self._writing

    def _write(self, writing: Writing) -> None:
        for _ in self._presence.guard(self._pieces(writing), self.stop):
            pass

    def _pieces(self, writing: Writing) -> Iterator[str]:
        """The pieces of a text as they come; the screen follows every UPDATE_INTERVAL_S.

        The first piece is shown at once.
        """
        self._show()
        shown_at = float("-inf")
        for text in writing:
            yield text
            if time.monotonic() - shown_at >= UPDATE_INTERVAL_S:
                self._show()
                shown_at = time.monotonic()

    def _show(self) -> None:
        """Bring every part of the panel up to date."""
        writing = self._writing
        n_new = len(writing.choices) if writing else 0
        self._title.value = note_html(model_line(self.llama) if self.llama else "No model is open.")
        self.generate_button.disabled = self._worker.busy
        self.stop_button.disabled = not self._worker.busy
        self._progress.max = max(1, writing.n_tokens if writing else 1)
        self._progress.value = n_new
        if self._worker.failure:
            self._status.value = note_html(self._worker.failure, is_error=True)
        else:
            line = writing_line(writing) if writing else "Press Generate."
            self._status.value = note_html(line)
        finished = n_new > 0 and not self._worker.busy
        self.position_slider.disabled = not finished
        if finished:
            self.position_slider.max = n_new
            self._position_row.settle()
            self._show_position()
        else:
            self._story.value = self._story_html(None)
            self._alternatives.value = ""

    def _show_position(self, _change: object = None) -> None:
        """Mark the chosen position in the text and list what could have stood there."""
        writing = self._writing
        if writing and not self._worker.busy:
            index = min(self.position_slider.value, len(writing.choices)) - 1
            self._story.value = self._story_html(index)
            self._alternatives.value = self._choice_html(writing.choices[index])

    def _story_html(self, marked: int | None) -> str:
        return story_html(self._writing, marked=marked)

    def _choice_html(self, choice: Choice) -> str:
        return choice_html(choice, self._writing.tokenizer) if self._writing else ""

    def __repr__(self) -> str:
        """What stands in the notebook where no widget can be shown; no times, so it is stable."""
        kind = type(self).__name__
        if self._worker.failure or self.llama is None:
            return f"{kind}: {self._worker.failure or 'closed'}"
        name = model_name(self.llama)
        if self._writing is None:
            return (
                f"{kind} on {name}, nothing written yet.\n"
                f"Its controls appear where a notebook is running; .run() works without them."
            )
        state = REASONS.get(self.reason, "writing")
        n_new = len(self._writing.choices)
        return f"{kind} on {name}, {n_new} new tokens, {state}:\n{visible_lines(self.text)}"

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        """The live widget, and beside it the whole text of repr, which ipywidgets would cut."""
        bundle: dict[str, object] = super()._repr_mimebundle_(**kwargs)
        return bundle | {"text/plain": repr(self)}
