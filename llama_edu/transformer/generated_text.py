"""GeneratedText: the new text of a generation, piece by piece or as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from llama_edu.html import escaped_lines
from llama_edu.text import visible_lines
from llama_edu.transformer.generate import GeneratedToken, Generation, Reason
from llama_edu.unsendable import Unsendable


class GeneratedText(Unsendable):
    """New text as it is generated: an iterator over its pieces.

    Nothing is computed before the first piece is asked for; `str()` and `repr()` generate
    what is missing and return the whole text.

    Attributes:
        generation: what generates it.
        steps: the tokens so far, with their log probabilities, where those were asked for.
    """

    def __init__(self, generation: Generation, keep_steps: bool = False) -> None:
        self.generation = generation
        self.steps: list[GeneratedToken] = []
        self._keep_steps = keep_steps

    @property
    def text(self) -> str:
        """The new text so far."""
        return self.generation.text

    @property
    def tokens(self) -> list[int]:
        """All ids so far, BOS and prompt included."""
        return self.generation.tokens

    @property
    def reason(self) -> Reason:
        """Why the text ended: "eos", "stop", "length", "context" or "closed"; "" until then."""
        return self.generation.reason

    def close(self) -> None:
        """End early; the text so far stays."""
        self.generation.close()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        step = next(iter(self.generation))
        if self._keep_steps:
            self.steps.append(step)
        return step.text

    def __str__(self) -> str:
        for _ in self:
            pass
        return self.text

    def __repr__(self) -> str:
        return visible_lines(str(self))

    def _repr_html_(self) -> str:
        return f'<div style="white-space: pre-wrap">{escaped_lines(str(self))}</div>'

    def _repr_pretty_(self, printer: object, cycle: bool) -> None:
        printer.text(repr(self))  # type: ignore[attr-defined]
