"""Reply: one answer of a conversation while it is written, with the alternatives to each token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from llama_edu.chat.answer import Answer
from llama_edu.show.story.choice import Choice, choice_of
from llama_edu.show.story.token_texts import TokenTexts
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.tokenizer.streaming import StreamDecoder
from llama_edu.transformer.sampling import SamplingSettings


class Reply:
    """One answer. Iterating writes it; any thread may read it meanwhile.

    Attributes:
        generation: the tokens behind it. choices: one per token of the answer, in order.
        reason: why it ended: as Generation.reason, or "stopped"; "" until then.
        first_token_s: seconds from the start to the first new token; None until then.
    """

    def __init__(
        self,
        answer: Answer,
        tokenizer: Tokenizer,
        settings: SamplingSettings,
        *,
        kept: Sequence[Choice] = (),
        pace: float = 0.0,
        stopping: threading.Event | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Nothing is computed yet.

        Args:
            kept: choices of an earlier answer with which this one begins.
            pace: the largest number of tokens per second, for readers to follow; 0 is no limit.
            stopping: set by any thread, it ends the answer before its next token is computed.
        """
        self.answer, self.tokenizer, self.settings = answer, tokenizer, settings
        self.generation = answer.generation
        decoder = StreamDecoder(tokenizer, at_start=False)
        self.choices = [replace(choice, text=decoder.push(choice.chosen.id)) for choice in kept]
        self._texts = TokenTexts(self.choices, decoder)
        self.reason = ""
        self.first_token_s: float | None = None
        self.pace = pace
        self._stopping = stopping or threading.Event()
        self._clock = clock

    @property
    def tokens(self) -> list[int]:
        """All ids so far, the whole conversation included."""
        return list(self.generation.tokens)

    @property
    def text(self) -> str:
        """The answer so far."""
        return self.answer.text

    def __iter__(self) -> Iterator[str]:
        start = self._clock()
        steps = self.answer.generated()
        while not self._stopping.is_set():
            token = next(steps, None)
            if token is None:
                self.reason = self.answer.reason
                return
            if self.first_token_s is None:
                self.first_token_s = self._clock() - start
            # at the end, text that had been held back comes without a new token
            if token.position < len(self.generation.tokens) or not self.choices:
                seen = self.generation.tokens[: token.position]
                self._texts.add(choice_of(token, self.settings, seen))
            self._texts.give(token.text)
            yield token.text
            if self.pace:
                self._stopping.wait(1 / self.pace)
        self.end()

    def end(self) -> None:
        """End the answer early; what was written stays, and the reason is "stopped"."""
        n_given = len(self.generation.text)
        self.answer.close()
        self._texts.give(self.generation.text[n_given:])
        self.reason = "stopped"
