"""TokenRow: the tokens around one place as buttons, so that a token can be chosen by a click.

Text in a notebook cannot be clicked without custom JavaScript, which does not run everywhere; a
fixed set of buttons whose labels change does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.story.choice import Choice
from llama_edu.show.story.token_html import choice_label
from llama_edu.tokenizer.protocol import Tokenizer

ipywidgets: Any = import_optional("ipywidgets", "GenerationStudio")

#: How many tokens are shown, the chosen one in the middle where possible.
N_BUTTONS = 11


class TokenRow(ipywidgets.HBox):
    """Buttons for up to N_BUTTONS neighboring tokens; pressing one chooses its place."""

    def __init__(self, choose: Callable[[int], object]) -> None:
        """Build the buttons, all hidden.

        Args:
            choose: called with the index of the token whose button was pressed.
        """
        self._choose = choose
        self._first = 0
        self.buttons = [
            ipywidgets.Button(layout=ipywidgets.Layout(width="auto", min_width="0", margin="1px"))
            for _ in range(N_BUTTONS)
        ]
        for place, button in enumerate(self.buttons):
            button.on_click(lambda _, place=place: self._choose(self._first + place))
            button.layout.display = "none"
        super().__init__(
            self.buttons, layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center")
        )

    def hide(self) -> None:
        """Show no buttons: there is nothing to choose from."""
        for button in self.buttons:
            button.layout.display = "none"

    def show(self, choices: Sequence[Choice], chosen: int, tokenizer: Tokenizer) -> None:
        """Label the buttons with the new tokens around number `chosen`, counted from 0."""
        self.show_labels(
            len(choices), chosen, lambda index: choice_label(choices, index, tokenizer),
            lambda index: f"Look at new token no. {index + 1}",
        )  # fmt: skip

    def show_labels(
        self, n_tokens: int, chosen: int, label: Callable[[int], str], what: Callable[[int], str]
    ) -> None:
        """Label the buttons with the texts around number `chosen`, counted from 0.

        Args:
            label: the text of a token, by its index; asked for those that are shown.
            what: what a button leads to, by the index of its token.
        """
        last_first = max(0, n_tokens - N_BUTTONS)
        self._first = min(max(0, chosen - N_BUTTONS // 2), last_first)
        for place, button in enumerate(self.buttons):
            index = self._first + place
            button.layout.display = "" if index < n_tokens else "none"
            if index < n_tokens:
                button.description = label(index)
                button.tooltip = what(index)
                button.button_style = "info" if index == chosen else ""
