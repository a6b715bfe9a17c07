"""WriterPanel: the methods and properties of every panel that has a Writer."""

from __future__ import annotations

import os
from typing import Self

from llama_edu.html import note_html
from llama_edu.llama import Llama
from llama_edu.show.panels.parts.controls import Controls
from llama_edu.show.panels.parts.panel import Panel
from llama_edu.show.panels.parts.picture import Picture
from llama_edu.show.panels.parts.story_view import StoryView
from llama_edu.show.panels.parts.writer import Writer
from llama_edu.show.story.description import REASONS, model_line, model_name
from llama_edu.show.story.still import still_story_html
from llama_edu.show.story.writing import Writing
from llama_edu.text import visible_lines


class WriterPanel(Panel):
    """A panel that writes texts; a subclass arranges the widgets.

    Attributes:
        writer: the Writer. controls: what it is to write; set e.g. `controls.temperature.value`.
        view: the text and the table of alternatives.
    """

    writer: Writer
    controls: Controls
    view: StoryView[Writing]

    @property
    def llama(self) -> Llama | None:
        """The open model, or None where it could not be opened; `reason` then says why."""
        return self.writer.llama

    @property
    def writing(self) -> Writing | None:
        """The latest text, finished or not; None before the first run."""
        return self.writer.writing

    @property
    def text(self) -> str:
        """The prompt and what followed; "" before the first run."""
        return self.writing.text if self.writing else ""

    @property
    def tokens(self) -> list[int]:
        """The ids of `text`, BOS included; empty before the first run."""
        return self.writing.tokens if self.writing else []

    @property
    def reason(self) -> str:
        """Why the text ended: eos, length, context, stopped, "failed: ..."; "" until then."""
        if self.writer.failure:
            return f"failed: {self.writer.failure}"
        return self.writing.reason if self.writing else ""

    def start(self) -> Self:
        """Start a text in the background, as Generate does; while one is written, do nothing."""
        self.writer.start(self.controls.values)
        return self

    def stop(self) -> None:
        """End the text before its next token, as Stop does."""
        self.writer.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the background text; False if `timeout` seconds were too few."""
        return self.writer.wait(timeout)

    def run(self) -> str:
        """Write a text in this cell, printing each token; interrupting the kernel ends it.

        Returns:
            The whole text, prompt included.
        Raises:
            RequestError: the panel is already writing. Any error of the generation itself.
        """
        return self.writer.run(self.controls.values, type(self).__name__)

    def close(self) -> None:
        """Stop, wait, remove the panel from the page and close the model if it was opened here."""
        if "writer" in vars(self):  # ipywidgets also closes a panel that was never fully built
            self.stop()
            self.wait()
            self.writer.close()
        super().close()

    def picture(self) -> Picture:
        """The text shaded by surprise and the alternatives to the chosen token, as HTML."""
        writing = self.writing
        if self.writer.failure or writing is None or not writing.choices:
            return super().picture()
        html = still_story_html(writing, self.view.index, self.view.choice_html)
        title = note_html(model_line(self.llama)) if self.llama else ""
        return Picture(repr(self), title + html)

    def __repr__(self) -> str:
        """The text where no widget can be shown; without times, so that it is stable."""
        kind = type(self).__name__
        if self.writer.failure or self.llama is None:
            return f"{kind}: {self.writer.failure or 'closed'}"
        name = model_name(self.llama)
        if self.writing is None:
            return (
                f"{kind} on {name}, nothing written yet.\n"
                f"Its controls appear where a notebook is running; .run() works without them."
            )
        state = REASONS.get(self.reason, "writing")
        n_new = len(self.writing.choices)
        return f"{kind} on {name}, {n_new} new tokens, {state}:\n{visible_lines(self.text)}"


#: What panels with a Writer accept as their model.
Model = Llama | str | os.PathLike[str] | None
