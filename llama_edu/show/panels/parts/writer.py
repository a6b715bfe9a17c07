"""Writer: opens a model and writes one text at a time with it, in the background or in a cell.

A click may arrive on any of the kernel's threads, so a panel's handlers only start a thread or set
an event. The thread never prints and never makes widgets: the panel assigns to those that exist.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llama_edu.bundled import bundled_checkpoint
from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.show.runtime.presence import Presence
from llama_edu.show.runtime.worker import Worker, sentence
from llama_edu.show.story.choice import Choice
from llama_edu.show.story.writing import Writing
from llama_edu.text import visible_lines

#: Seconds between two updates of the text on the screen.
UPDATE_INTERVAL_S = 0.1

#: A text that ended for one of these reasons can go on.
_CAN_GO_ON = ("stopped", "length")

Values = Callable[[], dict[str, Any]]


class Writer:
    """Owns the model, the thread that writes, and the latest text.

    Attributes:
        llama: the open model, or None where it could not be opened; `failure` then says why.
        writing: the latest text, finished or not; None before the first.
        presence: asks whether a page is there; its beacon must be among the panel's children.
    """

    def __init__(
        self,
        model: Llama | str | os.PathLike[str] | None,
        tokenizer: str | os.PathLike[str] | None,
        changed: Callable[[], None],
        before_writing: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the model; if that fails, `failure` says why, and nothing is raised.

        Args:
            model: an open Llama, a path, or None for the bundled checkpoint. What is opened here
                is closed by `close`.
            tokenizer: a vocabulary file, for a path to weights without one.
            changed: called when something that a screen shows has changed.
            before_writing: called before a text starts or goes on, or another model is opened, on
                the thread that does so.
        """
        self._model, self._tokenizer = model, tokenizer
        self._changed, self._before_writing = changed, before_writing
        self._worker = Worker(changed)
        self.presence = Presence()
        self.llama: Llama | None = None
        self.writing: Writing | None = None
        self._open()

    @property
    def is_busy(self) -> bool:
        """Whether a text is being written or a model opened."""
        return self._worker.busy

    @property
    def failure(self) -> str:
        """Why the last text or the last opening failed; "" where it did not."""
        return self._worker.failure

    @property
    def can_go_on(self) -> bool:
        """Whether there is a text that was stopped or reached its length."""
        return bool(self.writing and not self.is_busy and self.writing.reason in _CAN_GO_ON)

    def start(self, values: Values) -> None:
        """Start a text in the background; while one is being written, do nothing.

        Args:
            values: returns the arguments of Writing after the model; called on the thread that
                writes.
        """
        self._worker.start(lambda: self._write(self._begin(values)), first=self._forget)

    def run(self, values: Values, panel: str) -> str:
        """Write a text in this cell, printing it as it comes; interrupting the kernel ends it.

        Args:
            panel: its name, for the message.
        Returns:
            The whole text, prompt included.
        Raises:
            RequestError: a text is being written. Any error of the generation itself.
        """
        with self._worker.foreground(first=self._forget) as is_free:
            if not is_free:
                raise RequestError(f"{panel}: is already writing; call .stop() and .wait() first")
            try:
                writing = self._begin(values)
                print(visible_lines(writing.prompt), end="", flush=True)
                for text in self._texts(writing):
                    print(visible_lines(text), end="", flush=True)
            except KeyboardInterrupt:
                if self.writing:
                    self.writing.end()
            finally:
                print()
        return self.writing.text if self.writing else ""

    def go_on(self, values: Values) -> None:
        """Go on with a text that can, in the background; the random numbers go on too."""
        writing = self.writing
        if writing and self.can_go_on:
            self._worker.start(
                lambda: self._rewrite(writing.choices, values() | {"seed": writing.generation.rng})
            )

    def write_instead(self, index: int, token: int, values: Values) -> None:
        """Put another token at choice `index` and go on from there, in the background.

        Raises:
            RequestError: there is no such choice, or the token is not among its likeliest.
        """
        if self.writing:
            kept = self.writing.instead(index, token)
            self._worker.start(lambda: self._rewrite(kept, values()))

    def open_other(
        self,
        path: str | os.PathLike[str],
        tokenizer: str | os.PathLike[str] | None,
        opened: Callable[[Llama], None],
    ) -> None:
        """Open another model in the background; if this fails, the current one stays open.

        Args:
            opened: called with the new model, on the thread that opened it.
        """
        self._worker.start(lambda: self._open_other(path, tokenizer, opened))

    def stop(self) -> None:
        """End the text before its next token."""
        self._worker.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the background job; False if `timeout` seconds were too few."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """Stop, wait, and close the model if it was opened here."""
        self.stop()
        self.wait()
        if self.llama and not isinstance(self._model, Llama):
            self.llama.close()
            self.llama = None

    def _open(self) -> None:
        try:
            if isinstance(self._model, Llama):
                self.llama = self._model
            else:
                path = bundled_checkpoint() if self._model is None else self._model
                self.llama = load(path, tokenizer=self._tokenizer)
            self._worker.failure = ""
        except (LlamaEduError, OSError) as error:
            self._worker.failure = sentence(error)

    def _open_other(
        self,
        path: str | os.PathLike[str],
        tokenizer: str | os.PathLike[str] | None,
        opened: Callable[[Llama], None],
    ) -> None:
        self._before_writing()
        other = load(path, tokenizer=tokenizer)
        old, was_opened_here = self.llama, not isinstance(self._model, Llama)
        self._model, self._tokenizer, self.llama = path, tokenizer, other
        self.writing = None
        opened(other)
        if old and was_opened_here:
            with contextlib.suppress(BufferError):  # a weight is still held: it keeps its file open
                old.close()

    def _forget(self) -> None:
        self.writing = None

    def _begin(self, values: Values) -> Writing:
        """A new text, not started; opens the model where that failed before."""
        self._before_writing()
        if self.llama is None:
            self._open()
        if self.llama is None:
            raise LlamaEduError(self._worker.failure)
        self.writing = Writing(self.llama, stopping=self._worker.stopping, **values())
        return self.writing

    def _rewrite(self, kept: Sequence[Choice], values: dict[str, Any]) -> None:
        """Write a text that begins with the latest one's prompt and these choices."""
        self._before_writing()
        old = self.writing
        if old is None or self.llama is None:
            return
        self.writing = Writing(
            self.llama, kept=kept, cache=old.generation.cache, stopping=self._worker.stopping,
            **values | {"prompt": old.prompt},
        )  # fmt: skip
        self._write(self.writing)

    def _write(self, writing: Writing) -> None:
        for _ in self.presence.guard(self._texts(writing), self.stop):
            pass

    def _texts(self, writing: Writing) -> Iterator[str]:
        """The text of each token; the first is shown at once, then every UPDATE_INTERVAL_S."""
        self._changed()
        shown_at = float("-inf")
        for text in writing:
            yield text
            if time.monotonic() - shown_at >= UPDATE_INTERVAL_S:
                self._changed()
                shown_at = time.monotonic()
