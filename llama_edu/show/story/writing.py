"""Writing: one text while it is generated, with the alternatives to each token. No Jupyter."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, Protocol

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.llama import Llama
from llama_edu.show.story.choice import Choice, choice_of, instead
from llama_edu.show.story.token_texts import TokenTexts
from llama_edu.tokenizer.prompt import prompt_ids
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.tokenizer.streaming import StreamDecoder
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import Generation, Reason
from llama_edu.transformer.sampling import SamplingSettings


class Written(Protocol):
    """What can be looked at token by token: a Writing, or a reply in a conversation."""

    choices: list[Choice]
    tokenizer: Tokenizer
    generation: Generation

    @property
    def tokens(self) -> list[int]:
        """All ids so far, those before the first choice included."""


class Writing:
    """One text while it is generated. Iterating generates it; any thread may read it meanwhile.

    Attributes:
        prompt: how it begins. choices: one per new token, in order. n_tokens: their largest number.
        reason: why it ended: "eos", "stop", "length", "context" or "stopped"; "" until then.
        first_token_s: seconds from the start to the first new token; None until then.
    """

    def __init__(
        self,
        llama: Llama,
        prompt: str,
        n_tokens: int,
        settings: SamplingSettings,
        seed: int | np.random.Generator | None,
        *,
        kept: Sequence[Choice] = (),
        cache: KVCache | None = None,
        pace: float = 0.0,
        stop: str | Sequence[str] = (),
        stopping: threading.Event | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Prepare; nothing is computed yet.

        Args:
            n_tokens: the largest number of new tokens, without the kept ones.
            seed: a number, or the generator of a text that goes on.
            kept: choices of an earlier text, to be placed between the prompt and the new tokens.
            cache: the cache of an earlier text with the same beginning, to be reused.
            pace: the largest number of tokens per second, for readers to follow; 0 is no limit.
            stop: strings that end the text; no part of one is shown.
            stopping: set by any thread, it ends the text before the next token is computed.
        Raises:
            RequestError: the prompt is longer than the context, or a number is out of range.
        """
        if not pace >= 0:
            raise RequestError(f"pace is {pace}, expected 0 (as fast as it goes) or more")
        self.tokenizer = llama.tokenizer
        before = prompt_ids(self.tokenizer, prompt)
        tokens = before + [choice.chosen.id for choice in kept]
        self.generation = llama.generate_tokens(
            tokens, n_tokens, settings, seed=seed, cache=cache, stop=stop
        )
        self.prompt, self.n_tokens, self.settings = prompt, len(kept) + n_tokens, settings
        # a character that was cut off where the earlier text ended may be finished now
        decoder = StreamDecoder(self.tokenizer, at_start=True)
        for token in before:
            decoder.push(token)
        self.choices = [replace(choice, text=decoder.push(choice.chosen.id)) for choice in kept]
        self._texts = TokenTexts(self.choices, decoder)
        self.reason: Reason | Literal["stopped"] = ""
        self.first_token_s: float | None = None
        self.pace = pace
        self._clock = clock
        self._stopping = stopping or threading.Event()

    @property
    def tokens(self) -> list[int]:
        """All ids so far, BOS and prompt included."""
        return list(self.generation.tokens)

    @property
    def text(self) -> str:
        """The prompt and everything that followed so far."""
        return self.prompt + "".join([choice.text for choice in self.choices])

    def __iter__(self) -> Iterator[str]:
        start = self._clock()
        steps = iter(self.generation)
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

    def instead(self, index: int, token: int) -> list[Choice]:
        """The choices before number `index`, then one of its alternatives in place of that choice.

        Raises:
            RequestError: there is no such choice, or the token is not among its likeliest.
        """
        return instead(self.choices, index, token)

    def end(self) -> None:
        """End the text early; what was generated stays, and the reason is "stopped"."""
        n_given = len(self.generation.text)
        self.generation.close()
        self._texts.give(self.generation.text[n_given:])
        self.reason = "stopped"
