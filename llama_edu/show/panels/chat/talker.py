"""Talker: opens a model and holds one conversation with it, in the background."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from llama_edu.bundled import bundled_checkpoint
from llama_edu.chat.conversation import Conversation
from llama_edu.errors import LlamaEduError
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.show.panels.parts.writer import UPDATE_INTERVAL_S
from llama_edu.show.runtime.presence import Presence
from llama_edu.show.runtime.worker import Worker, sentence
from llama_edu.show.story.choice import Choice
from llama_edu.show.story.reply import Reply
from llama_edu.transformer.sampling import SamplingSettings

#: What the bundled model is talked to with: it was trained on stories, and knows no format.
_FOR_BUNDLED = "plain"

#: Before each answer: how the next token is chosen, and the largest number of them.
Settings = Callable[[], tuple[SamplingSettings, int]]


class Talker:
    """Owns the model, the conversation, the thread that answers, and the latest answer.

    Attributes:
        llama, conversation: None where they could not be opened; `failure` then says why.
        reply: the latest answer, finished or not; None before the first.
        presence: asks whether a page is there; its beacon must be among the panel's children.
    """

    def __init__(
        self,
        model: Llama | str | os.PathLike[str] | None,
        tokenizer: str | os.PathLike[str] | None,
        template: str | os.PathLike[str] | None,
        stop: str | Sequence[str],
        seed: int | None,
        pace: float,
        changed: Callable[[], None],
        before_answer: Callable[[], None],
    ) -> None:
        """Open the model; if that fails, `failure` says why, and nothing is raised.

        Args:
            model, tokenizer: as Writer. template, stop, seed: as Llama.chat. pace: as Reply.
            changed: called when something that a screen shows has changed.
            before_answer: called before an answer starts, on the thread that writes it.
        """
        self._pace = pace
        self._changed, self._before_answer = changed, before_answer
        self._worker = Worker(changed)
        self.presence = Presence()
        self._is_own = not isinstance(model, Llama)
        self.is_bundled = model is None
        self.llama: Llama | None = None
        self.conversation: Conversation | None = None
        self.reply: Reply | None = None
        self._opening_failure = ""
        try:
            if isinstance(model, Llama):
                self.llama = model
            else:
                path = bundled_checkpoint() if model is None else model
                self.llama = load(path, tokenizer=tokenizer)
            name = _FOR_BUNDLED if model is None and template is None else template
            self.conversation = self.llama.chat(template=name, stop=stop, seed=seed)
        except (LlamaEduError, OSError) as error:
            self._opening_failure = self._worker.failure = sentence(error)

    @property
    def is_busy(self) -> bool:
        """Whether an answer is being written."""
        return self._worker.busy

    @property
    def failure(self) -> str:
        """Why the last answer or the opening failed; "" where it did not."""
        return self._worker.failure

    def say(
        self, text: str, system: str | None, settings: Settings, accepted: Callable[[], None]
    ) -> bool:
        """Add a message and answer it in the background; False while another answer is written.

        Args:
            accepted: called when the message has become a part of the conversation.
        """

        def answer() -> None:
            conversation = self._ready(settings)
            if system != conversation.system:
                conversation.system = system
            said = conversation.say(text)
            accepted()
            self._write(Reply(
                said, conversation.tokenizer, conversation.settings,
                pace=self._pace, stopping=self._worker.stopping,
            ))  # fmt: skip

        return self._worker.start(answer)

    def answer_again(self, settings: Settings, kept: Sequence[Choice] = ()) -> bool:
        """Answer the last message again in the background, beginning with these tokens."""

        def answer() -> None:
            conversation = self._ready(settings)
            again = conversation.regenerate([choice.chosen.id for choice in kept])
            self._write(Reply(
                again, conversation.tokenizer, conversation.settings, kept=kept,
                pace=self._pace, stopping=self._worker.stopping,
            ))  # fmt: skip

        return self._worker.start(answer)

    def change(self, action: Callable[[Conversation], object]) -> bool:
        """Change the conversation while no answer is written; a failure is kept as `failure`."""

        def do() -> None:
            self._before_answer()
            action(self._open_conversation())
            self.reply = None

        return self._worker.start(do)

    def stop(self) -> None:
        """End the answer before its next token."""
        self._worker.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the answer; False if `timeout` seconds were too few."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """Stop, wait, and close the conversation, and the model if it was opened here."""
        self.stop()
        self.wait()
        if self.conversation:
            self.conversation.close()
        if self.llama and self._is_own:
            self.llama.close()
            self.llama = None

    def _open_conversation(self) -> Conversation:
        if self.conversation is None:
            raise LlamaEduError(self._opening_failure)
        return self.conversation

    def _ready(self, settings: Settings) -> Conversation:
        self._before_answer()
        conversation = self._open_conversation()
        conversation.settings, conversation.n_tokens = settings()
        return conversation

    def _write(self, reply: Reply) -> None:
        """Write an answer; the first token is shown at once, then every UPDATE_INTERVAL_S."""
        self.reply = reply
        self._changed()
        shown_at = float("-inf")
        for _ in self.presence.guard(reply, self.stop):
            if time.monotonic() - shown_at >= UPDATE_INTERVAL_S:
                self._changed()
                shown_at = time.monotonic()
