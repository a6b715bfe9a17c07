"""GenerationWidget: a prompt, the sampling controls, and a text that appears as it is generated."""

from __future__ import annotations

import os
from typing import Any

from llama_edu.show.panels.parts.controls import EXAMPLE_PROMPTS, Controls, first_values
from llama_edu.show.panels.parts.story_view import StoryView
from llama_edu.show.panels.parts.writer import Writer
from llama_edu.show.panels.parts.writer_bar import WriterBar
from llama_edu.show.panels.parts.writer_panel import Model, WriterPanel
from llama_edu.show.runtime.same_cell import stop_predecessors
from llama_edu.show.story.token_html import story_html


class GenerationWidget(WriterPanel):
    """Writes texts with a model, shows them as they are generated, and the alternatives.

    Every button is a method: `start`, `stop`; `wait` waits for the end. `run` needs no widgets on
    the screen: it prints in the cell that calls it, and interrupting the kernel ends it. Running
    the cell again stops the text of the earlier widget; closing the page stops the text, see
    Presence.

    Attributes:
        bar: title, buttons, status. view: the text and its alternatives.
    """

    def __init__(
        self,
        model: Model = None,
        *,
        tokenizer: str | os.PathLike[str] | None = None,
        examples: tuple[str, ...] = EXAMPLE_PROMPTS,
        **values: Any,
    ) -> None:
        """Open the model and build the panel; if the model cannot be opened, the status says why.

        Args:
            model: an open Llama, a path, or None for the bundled checkpoint. What is opened here
                is closed by `close`.
            tokenizer: a vocabulary file, for a path to weights without one.
            examples: prompts to choose from.
            values: the first values of the controls: prompt, stop (strings that end the text),
                n_tokens, temperature, top_k, top_p, min_p, repeat_penalty, seed, pace (most tokens
                per second; 0 is no limit).
        Raises:
            RequestError: an unknown name, or a value out of range.
        """
        first = first_values(values)
        self.writer = Writer(model, tokenizer, self._show)
        self.controls = Controls(self.llama.config if self.llama else None, examples, first)
        self.bar = WriterBar(self.start, self.stop)
        self.view = StoryView(story_html)
        self.generate_button, self.stop_button = self.bar.generate_button, self.bar.stop_button
        self.position_slider = self.view.position_slider
        super().__init__(
            [self.bar.title, *self.controls.widgets, self.bar.buttons, self.bar.status,
             self.view.story, self.view.position_row, self.view.table,
             self.writer.presence.beacon]
        )  # fmt: skip
        self.add_class("llama-edu-generation")
        self._show()
        stop_predecessors(self)

    def _show(self) -> None:
        """Bring every part of the panel up to date."""
        self.bar.show(self.writer)
        self.view.show(self.writing, is_busy=self.writer.is_busy)
