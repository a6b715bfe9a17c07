"""LookaheadColumn: where each alternative would have led, filled into the table row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llama_edu.html import note_html
from llama_edu.llama import Llama
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.runtime.worker import Worker
from llama_edu.show.story.choice import Choice
from llama_edu.show.story.lookahead import look_ahead
from llama_edu.show.story.token_html import choice_html
from llama_edu.show.story.written import Written
from llama_edu.tokenizer.protocol import Tokenizer

ipywidgets: Any = import_optional("ipywidgets", "GenerationStudio")


class LookaheadColumn:
    """Looks ahead from one place at a time, in its own thread.

    Attributes:
        status: HTML; that it is running, or why it failed.
        followed: id of each alternative -> the text that it led to, at the last place looked at.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        """Nothing is looked at yet.

        Args:
            changed: called when looking ahead has started or ended.
        """
        self.status = ipywidgets.HTML()
        self.followed: dict[int, str] = {}
        self._looked_at: Choice | None = None
        self._changed = changed
        self._worker = Worker(self._show)

    @property
    def is_busy(self) -> bool:
        """Whether it is running."""
        return self._worker.busy

    def start(
        self, llama: Llama, writing: Written, choice: Choice, added: Callable[[], None]
    ) -> None:
        """Look ahead from every alternative to a choice; while it is running, do nothing.

        Args:
            added: called after each text, on the thread that looks ahead.
        """

        def begin() -> None:
            self._looked_at, self.followed = choice, {}

        self._worker.start(lambda: self._look(llama, writing, choice, added), first=begin)

    def stop(self) -> None:
        """End before the next token."""
        self._worker.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; False if `timeout` seconds were too few."""
        return self._worker.wait(timeout)

    def end(self) -> None:
        """Stop and wait, because looking ahead reads the cache that a text is about to change."""
        self.stop()
        self.wait()
        self._worker.failure = ""

    def choice_html(self, choice: Choice, tokenizer: Tokenizer) -> str:
        """The table of a choice's alternatives, with the column if this is the place looked at."""
        followed = self.followed if choice is self._looked_at else None
        return choice_html(choice, tokenizer, followed)

    def _look(
        self, llama: Llama, writing: Written, choice: Choice, added: Callable[[], None]
    ) -> None:
        tokens = dict.fromkeys([*(other.id for other in choice.likeliest), choice.chosen.id])
        for token, text in look_ahead(
            llama, writing.tokens[: choice.position], list(tokens),
            cache=writing.generation.cache, stopping=self._worker.stopping,
        ):  # fmt: skip
            self.followed[token] = text
            added()

    def _show(self) -> None:
        failure = self._worker.failure
        working = "Looking ahead ..." if self.is_busy else ""
        text = failure or working
        self.status.value = note_html(text, is_error=bool(failure)) if text else ""
        self._changed()
