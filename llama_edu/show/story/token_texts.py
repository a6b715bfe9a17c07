"""Which part of a text each of its tokens wrote, where a text is given out later than its tokens.

A generation holds back what may begin a stop string, so the text that becomes certain with a token
may be that of earlier ones, or none.
"""

from __future__ import annotations

from dataclasses import replace

from llama_edu.show.story.choice import Choice
from llama_edu.tokenizer.streaming import StreamDecoder


class TokenTexts:
    """Fills the texts of new choices, in order, with what is given out of the text.

    Args:
        choices: the list that grows; those in it keep their texts.
        decoder: has decoded everything before the new choices.
    """

    def __init__(self, choices: list[Choice], decoder: StreamDecoder) -> None:
        self._choices = choices
        self._decoder = decoder
        self._n_missing: dict[int, int] = {}  # choice -> characters of it not given out yet

    def add(self, choice: Choice) -> None:
        """Append a choice of which nothing was given out yet."""
        own = self._decoder.push(choice.chosen.id)
        if own:
            self._n_missing[len(self._choices)] = len(own)
        self._choices.append(replace(choice, text=""))

    def give(self, text: str) -> None:
        """The text goes on with this; what no token wrote alone belongs to the last one."""
        while text:
            index = next(iter(self._n_missing), len(self._choices) - 1)
            n = self._n_missing.pop(index, len(text))
            part, text = text[:n], text[n:]
            if len(part) < n:
                self._n_missing = {index: n - len(part), **self._n_missing}
            choice = self._choices[index]
            self._choices[index] = replace(choice, text=choice.text + part)
