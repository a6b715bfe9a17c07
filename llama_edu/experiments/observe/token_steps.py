"""The one loop that observes a text token by token: each step has its own record."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

from llama_edu.pages.lab import PageLab
from llama_edu.pages.record import Record
from llama_edu.pages.touches import Step
from llama_edu.transformer.generate import Generation, Reason

_Made = TypeVar("_Made")


def recorded(
    lab: PageLab, steps: Iterable[_Made], stopping: threading.Event | None = None
) -> Iterator[tuple[_Made | None, Record]]:
    """Each step of a computation with the record of the pages that it needed.

    Args:
        steps: computes one step each time the next item is requested.
        stopping: set by any thread, it ends the observation before the next step.
    Yields:
        (what the step made, its record). The call that only finds the end makes None; it is left
        out if it touched no page.
    """
    iterator, number = iter(steps), 0
    while stopping is None or not stopping.is_set():
        with lab.record(f"step {number}") as record:
            made = next(iterator, None)
        if made is not None or (record.pages is not None and record.pages.any()):
            yield made, record
        if made is None:
            return
        number += 1


class TokenSteps:
    """A text while it is generated, one Step for each call of the model. Iterating generates it.

    Attributes:
        text: prompt and new text so far.
        reason: why it ended: "eos", "length", "context" or "stopped"; "" until then.
    """

    def __init__(
        self,
        lab: PageLab,
        generation: Generation,
        prompt: str,
        stopping: threading.Event | None = None,
    ) -> None:
        """Prepare; nothing is computed yet.

        Args:
            lab: maps the file that the generation's model was loaded from.
            prompt: the text of the generation's prompt.
            stopping: set by any thread, it ends the text before the next token is computed.
        """
        self._lab, self._generation, self._stopping = lab, generation, stopping
        self._prompt = self.text = prompt
        self.reason: Reason | Literal["stopped"] = ""

    def __iter__(self) -> Iterator[Step]:
        read, ids = self._prompt, tuple(self._generation.tokens)
        for token, record in recorded(self._lab, self._generation, self._stopping):
            self.text += token.text if token else ""
            yield Step(read, record, ids)
            if token:  # the next step reads what this one wrote
                read, ids = token.text, (token.id,)
        self.reason = self._generation.reason or "stopped"
        self._generation.close()
