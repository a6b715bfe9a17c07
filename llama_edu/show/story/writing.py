"""Writing: one text while it is generated, with the alternatives to each token. No Jupyter."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from llama_edu.llama import Llama
from llama_edu.show.story.choice import Choice, instead
from llama_edu.show.story.written import Written, check_pace
from llama_edu.tokenizer.prompt import prompt_ids
from llama_edu.tokenizer.streaming import StreamDecoder
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import GeneratedToken
from llama_edu.transformer.sampling import SamplingSettings


class Writing(Written):
    """One text while it is generated; see Written.

    Attributes:
        prompt: how it begins. n_tokens: the largest number of choices.
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
            stop: strings that end the text; no part of one is shown.
            pace, stopping: as Written.
        Raises:
            RequestError: the prompt is longer than the context, or a number is out of range.
        """
        check_pace(pace)  # before a cache is cut to the new text
        before = prompt_ids(llama.tokenizer, prompt)
        tokens = before + [choice.chosen.id for choice in kept]
        generation = llama.generate_tokens(
            tokens, n_tokens, settings, seed=seed, cache=cache, stop=stop
        )
        decoder = StreamDecoder(llama.tokenizer, at_start=True)
        for token in before:
            decoder.push(token)
        super().__init__(
            generation, llama.tokenizer, settings, decoder,
            kept=kept, pace=pace, stopping=stopping, clock=clock,
        )  # fmt: skip
        self.prompt, self.n_tokens = prompt, len(kept) + n_tokens

    @property
    def text(self) -> str:
        """The prompt and everything that followed so far."""
        return self.prompt + "".join([choice.text for choice in self.choices])

    def instead(self, index: int, token: int) -> list[Choice]:
        """The choices before number `index`, then one of its alternatives in place of that choice.

        Raises:
            RequestError: there is no such choice, or the token is not among its likeliest.
        """
        return instead(self.choices, index, token)

    def _steps(self) -> Iterator[GeneratedToken]:
        return iter(self.generation)

    def _close(self) -> None:
        self.generation.close()
