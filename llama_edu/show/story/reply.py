"""Reply: one answer of a conversation while it is written, with the alternatives to each token."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

from llama_edu.chat.answer import Answer
from llama_edu.show.story.choice import Choice
from llama_edu.show.story.written import Written
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.tokenizer.streaming import StreamDecoder
from llama_edu.transformer.generate import GeneratedToken
from llama_edu.transformer.sampling import SamplingSettings


class Reply(Written):
    """One answer while it is written; see Written."""

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
        """Nothing is computed yet. kept: choices of an earlier answer; the others as Written."""
        super().__init__(
            answer.generation, tokenizer, settings, StreamDecoder(tokenizer, at_start=False),
            kept=kept, pace=pace, stopping=stopping, clock=clock,
        )  # fmt: skip
        self.answer = answer

    @property
    def text(self) -> str:
        """The answer so far."""
        return self.answer.text

    def _steps(self) -> Iterator[GeneratedToken]:
        return self.answer.generated()

    def _close(self) -> None:
        self.answer.close()
