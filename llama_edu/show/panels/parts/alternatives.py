"""AlternativePicker: the other tokens at a place, to write on with one or to look ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.story.choice import Choice
from llama_edu.show.story.lookahead import N_AHEAD
from llama_edu.show.story.token_html import percent, token_label
from llama_edu.tokenizer.protocol import Tokenizer

ipywidgets: Any = import_optional("ipywidgets", "GenerationStudio")


class AlternativePicker(ipywidgets.HBox):
    """A list of the alternatives at one place, and two buttons.

    Attributes:
        token: widget; the list, whose values are ids, or None where there is nothing to choose.
        take_button, ahead_button: widgets.
    """

    def __init__(self, take: Callable[[int], object], look_ahead: Callable[[], object]) -> None:
        """Build the list, empty.

        Args:
            take: called with the chosen id by "Write on from here".
            look_ahead: called by "What would have followed?".
        """
        self.token = ipywidgets.Dropdown(
            description="instead",
            tooltip="Another token for the chosen place",
            style={"description_width": "60px"},
            layout=ipywidgets.Layout(width="260px"),
        )
        self.take_button = ipywidgets.Button(
            description="Write on from here",
            icon="code-fork",
            tooltip="Keep the text before this place, put the token there, and continue",
            layout=ipywidgets.Layout(width="auto"),
        )
        self.ahead_button = ipywidgets.Button(
            description="What would have followed?",
            icon="eye",
            tooltip=f"After each alternative, take the likeliest token {N_AHEAD} times",
            layout=ipywidgets.Layout(width="auto"),
        )
        self.take_button.on_click(
            lambda _: take(self.token.value) if self.token.value is not None else None
        )
        self.ahead_button.on_click(lambda _: look_ahead())
        self.show(None, None)
        super().__init__(
            [self.token, self.take_button, self.ahead_button],
            layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center"),
        )

    def show(self, choice: Choice | None, tokenizer: Tokenizer | None) -> None:
        """Offer the alternatives to a choice; None offers nothing.

        BOS and the ends of a text are not offered: no text goes on after them.
        """
        options: list[tuple[str, int | None]] = []
        if choice is not None and tokenizer is not None:
            unwanted = (choice.chosen.id, tokenizer.bos_id, *tokenizer.end_ids)
            options = [
                (
                    f"{rank}. {token_label(tokenizer, o.id)}  {percent(o.probability)}",
                    o.id,
                )
                for rank, o in enumerate(choice.likeliest, 1)
                if o.id not in unwanted
            ]
        self.token.disabled = self.take_button.disabled = not options
        self.token.options = options or [("nothing to choose", None)]
        self.token.index = 0
        self.ahead_button.disabled = choice is None
