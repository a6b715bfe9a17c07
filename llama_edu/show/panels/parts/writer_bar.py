"""WriterBar: the model's name, the buttons that start and stop a text, progress and status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_edu.html import note_html
from llama_edu.show.panels.parts.writer import Writer
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.story.description import model_line, writing_line

ipywidgets: Any = import_optional("ipywidgets", "the widgets")


class WriterBar:
    """The widgets around a Writer.

    Attributes:
        title, status: HTML. generate_button, stop_button, progress: widgets.
        buttons: a row of them.
    """

    def __init__(
        self, start: Callable[[], object], stop: Callable[[], object], *more_buttons: Any
    ) -> None:
        """Build the widgets.

        Args:
            start, stop: called by the buttons. more_buttons: placed after them.
        """
        self.title, self.status = ipywidgets.HTML(), ipywidgets.HTML()
        self.generate_button = ipywidgets.Button(
            description="Generate", button_style="primary", icon="play", tooltip="Write a text"
        )
        self.stop_button = ipywidgets.Button(
            description="Stop", icon="stop", disabled=True, tooltip="End before the next token"
        )
        self.progress = ipywidgets.IntProgress(
            min=0, max=1, layout=ipywidgets.Layout(flex="1 1 120px", width="auto")
        )
        self.generate_button.on_click(lambda _: start())
        self.stop_button.on_click(lambda _: stop())
        self.buttons = ipywidgets.HBox(
            [self.generate_button, self.stop_button, *more_buttons, self.progress],
            layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center"),
        )

    def show(self, writer: Writer) -> None:
        """Bring every widget up to date."""
        writing = writer.writing
        self.title.value = note_html(
            model_line(writer.llama) if writer.llama else "No model is open."
        )
        self.generate_button.disabled = writer.is_busy
        self.stop_button.disabled = not writer.is_busy
        self.progress.max = max(1, writing.n_tokens if writing else 1)
        self.progress.value = len(writing.choices) if writing else 0
        line = writing_line(writing) if writing else "Press Generate."
        self.status.value = note_html(writer.failure or line, is_error=bool(writer.failure))
