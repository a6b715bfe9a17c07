"""Answer: one answer of a conversation, while it is written and afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from llama_edu.chat.messages import Message
from llama_edu.transformer.generate import GeneratedToken, Generation
from llama_edu.unsendable import Unsendable


class Answer(Unsendable):
    """Iterating writes the answer and gives its pieces of text; what was written stays.

    Attributes:
        generation: the tokens behind it, counted and timed. Its prefill_s is the time to the first.
        n_reused: how many tokens of the prompt were in the cache already.
    """

    def __init__(
        self,
        generation: Generation,
        message: Message,
        n_reused: int,
        ended: Callable[[Generation], None],
    ) -> None:
        """Nothing is computed yet.

        Args:
            message: its content grows with the answer, from what is there already.
            ended: called once, when the answer ends.
        """
        self.generation = generation
        self._begins = message["content"]
        self.n_reused = n_reused
        self._message = message
        self._ended = ended
        self._steps = iter(generation)
        self._is_over = False

    @property
    def text(self) -> str:
        """The answer so far."""
        return self._message["content"]

    @property
    def reason(self) -> str:
        """Why it ended, as Generation.reason; "" while it is written."""
        return self.generation.reason

    @property
    def n_prompt(self) -> int:
        """How many tokens the model read before it answered."""
        return self.generation.n_prompt

    def generated(self) -> Iterator[GeneratedToken]:
        """The tokens of the answer, with their scores; each is computed when it is asked for."""
        while not self._is_over:
            try:
                token = next(self._steps, None)
            except BaseException:  # Ctrl+C, or damaged weights
                self.close()
                raise
            if token is None:
                self.close()
                return
            self._message["content"] = self._begins + self.generation.text
            yield token

    def __iter__(self) -> Iterator[str]:
        return (token.text for token in self.generated() if token.text)

    def close(self) -> None:
        """End the answer here; what was written stays."""
        if not self._is_over:
            self._is_over = True
            self.generation.close()
            self._message["content"] = self._begins + self.generation.text
            self._ended(self.generation)

    def __str__(self) -> str:
        """The whole answer; writes what is not yet written."""
        for _ in self.generated():
            pass
        return self.text

    def __repr__(self) -> str:
        state = self.reason or "not finished"
        return f"Answer({self.text!r}, {self.generation.n_new} tokens, {state})"
