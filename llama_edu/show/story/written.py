"""Written: what is written token by token, and can be looked at while it is. No Jupyter."""

from __future__ import annotations

import abc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from llama_edu.errors import RequestError
from llama_edu.show.story.choice import Choice, choice_of
from llama_edu.show.story.token_texts import TokenTexts
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.tokenizer.streaming import StreamDecoder
from llama_edu.transformer.generate import GeneratedToken, Generation, Reason
from llama_edu.transformer.sampling import SamplingSettings


def check_pace(pace: float) -> None:
    """Raise RequestError unless this can be a number of tokens per second; 0 is no limit."""
    if not pace >= 0:
        raise RequestError(f"pace is {pace}, expected 0 (as fast as it goes) or more")


class Written(abc.ABC):
    """A text or an answer. Iterating writes it; any thread may read it meanwhile.

    Attributes:
        generation: the tokens behind it. choices: one per new token, in order.
        reason: why it ended: as Generation.reason, or "stopped"; "" until then.
        first_token_s: seconds from the start to the first new token; None until then.
    """

    def __init__(
        self,
        generation: Generation,
        tokenizer: Tokenizer,
        settings: SamplingSettings,
        decoder: StreamDecoder,
        *,
        kept: Sequence[Choice] = (),
        pace: float = 0.0,
        stopping: threading.Event | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Nothing is computed yet.

        Args:
            decoder: has decoded what comes before the kept choices, where a character may be cut.
            kept: choices of an earlier text with which this one begins.
            pace: the largest number of tokens per second, for readers to follow; 0 is no limit.
            stopping: set by any thread, it ends the text before its next token is computed.
        """
        check_pace(pace)
        self.generation, self.tokenizer, self.settings = generation, tokenizer, settings
        self.choices = [replace(choice, text=decoder.push(choice.chosen.id)) for choice in kept]
        self._texts = TokenTexts(self.choices, decoder)
        self.reason: Reason | Literal["stopped"] = ""
        self.first_token_s: float | None = None
        self.pace = pace
        self._stopping = stopping or threading.Event()
        self._clock = clock

    @property
    def tokens(self) -> list[int]:
        """All ids so far, those before the first choice included."""
        return list(self.generation.tokens)

    @abc.abstractmethod
    def _steps(self) -> Iterator[GeneratedToken]:
        """The tokens; each is computed when it is asked for."""

    @abc.abstractmethod
    def _close(self) -> None:
        """End the generation early."""

    def __iter__(self) -> Iterator[str]:
        start = self._clock()
        steps = self._steps()
        while not self._stopping.is_set():
            token = next(steps, None)
            if token is None:
                self.reason = self.generation.reason
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
        """End it early; what was written stays, and the reason is "stopped"."""
        n_given = len(self.generation.text)
        self._close()
        self._texts.give(self.generation.text[n_given:])
        self.reason = "stopped"
