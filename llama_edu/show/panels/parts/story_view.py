"""StoryView: a text, a slider along its tokens, and the alternatives to one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from llama_edu.errors import RequestError
from llama_edu.show.panels.parts.range_box import RangeBox
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.story.choice import Choice
from llama_edu.show.story.token_html import choice_html
from llama_edu.show.story.written import Written
from llama_edu.tokenizer.protocol import Tokenizer

ipywidgets: Any = import_optional("ipywidgets", "the widgets")
W = TypeVar("W", bound=Written)


class StoryView(Generic[W]):
    """Shows a text; once it is finished, one of its new tokens is chosen and explained.

    Attributes:
        story, table: HTML. position_slider: chooses a new token, counted from 1.
        position_row: the box of the slider. choice_html: makes HTML of the alternatives.
    """

    def __init__(
        self,
        story_html: Callable[[W | None, int | None], str],
        choice_html: Callable[[Choice, Tokenizer], str] = choice_html,
    ) -> None:
        """Build the widgets.

        Args:
            story_html: makes HTML of a text, with the token of this index marked.
            choice_html: makes HTML of the alternatives to a choice.
        """
        self._story_html, self.choice_html = story_html, choice_html
        self._writing: W | None = None
        self._is_finished = False
        self.story, self.table = ipywidgets.HTML(), ipywidgets.HTML()
        self.position_slider = ipywidgets.IntSlider(
            description="new token no.", min=1, max=1, disabled=True,
            tooltip="Which new token to look at: what were the alternatives?",
            style={"description_width": "110px"},
            layout=ipywidgets.Layout(flex="1 1 auto", width="auto"),
        )  # fmt: skip
        self.position_row = RangeBox(self.position_slider, width="100%", max_width="600px")
        self.position_slider.observe(lambda _: self.show_chosen(), "value")

    @property
    def index(self) -> int | None:
        """The index of the chosen token, counted from 0; None where there is no finished text."""
        if self._writing is None or not self._is_finished:
            return None
        return min(self.position_slider.value, len(self._writing.choices)) - 1

    @property
    def chosen(self) -> Choice | None:
        """The chosen token; None where there is no finished text."""
        index = self.index
        return None if self._writing is None or index is None else self._writing.choices[index]

    def choose(self, number: int) -> None:
        """Look at new token no. `number`, counted from 1, as the slider does.

        Raises:
            RequestError: there is no such token.
        """
        n_new = len(self._writing.choices) if self._writing else 0
        if not 1 <= number <= n_new:
            raise RequestError(f"new token no. {number}: the text has {n_new} of them")
        self.position_slider.value = number

    def show(self, writing: W | None, *, is_busy: bool) -> None:
        """Bring every widget up to date; while a text is being written, no token can be chosen."""
        self._writing = writing
        self._is_finished = bool(writing and writing.choices and not is_busy)
        self.position_slider.disabled = not self._is_finished
        if writing and self._is_finished:
            self.position_slider.max = len(writing.choices)
            self.position_row.settle()
            self.show_chosen()
        else:
            self.story.value = self._story_html(writing, None)
            self.table.value = ""

    def show_chosen(self) -> None:
        """Mark the chosen token in the text and list its alternatives."""
        writing, index = self._writing, self.index
        if writing and index is not None:
            self.story.value = self._story_html(writing, index)
            self.table.value = self.choice_html(writing.choices[index], writing.tokenizer)
