"""Conversation: messages in, text out, over a cache that is kept from turn to turn.

Every turn is rendered from its beginning, because only the template knows what a conversation looks
like. What the model has read already is not computed again: the ids of the new prompt are compared
with those that the cache holds, and the common beginning is kept. An answer whose text is cut into
other pieces than those that the model chose ends that beginning earlier; nothing else depends on
it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llama_edu.chat.answer import Answer
from llama_edu.chat.messages import Message, checked, checked_text
from llama_edu.chat.prompt import Prompt, PromptWriter
from llama_edu.chat.template import template_of
from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.files.layout import Checkpoint
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.tokenizer.streaming import StreamDecoder
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import Generation
from llama_edu.transformer.sampling import SamplingSettings
from llama_edu.unsendable import Unsendable

#: The largest number of tokens of an answer, unless another is given.
N_TOKENS = 512


class Model(Protocol):
    """What a conversation needs of a Llama."""

    checkpoint: Checkpoint
    config: ModelConfig

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to ids and back."""

    def generate_tokens(
        self,
        prompt: str | Sequence[int],
        n_tokens: int,
        settings: SamplingSettings | None,
        *,
        seed: int | np.random.Generator | None,
        cache: KVCache | None,
        stop: Sequence[str],
    ) -> Generation:
        """Continue a prompt."""


class ContextFull(RequestError):
    """The conversation is longer than the model's context."""


@dataclass(frozen=True)
class Seen:
    """One token that the model read.

    Attributes:
        text: the name of a special token, or what another token adds to the text; "" while a
            character's bytes are incomplete.
    """

    id: int
    text: str
    is_special: bool


class Conversation(Unsendable):
    """Messages and the answers to them; made by `Llama.chat`.

        >>> conversation = llama.chat(system="Answer in one sentence.")
        >>> for piece in conversation.say("Why is the sky blue?"):
        ...     print(piece, end="", flush=True)

    Attributes:
        template: which template writes it. settings, n_tokens, stop: as given to `Llama.chat`; a
            change counts from the next answer on.
        n_reused: how many tokens of the latest prompt were in the cache already.
    """

    def __init__(
        self,
        model: Model,
        *,
        system: str | None = None,
        messages: Iterable[Mapping[str, object]] = (),
        template: str | os.PathLike[str] | None = None,
        n_tokens: int = N_TOKENS,
        settings: SamplingSettings | None = None,
        stop: str | Sequence[str] = (),
        seed: int | np.random.Generator | None = None,
    ) -> None:
        """Find the template and check what is given; nothing is computed yet.

        Args: as Llama.chat.
        """
        self._model = model
        self.template = template_of(model.checkpoint, template)
        self._writer = PromptWriter(self.template, model.tokenizer)
        self._messages = checked(messages)
        if system is not None:
            self.system = system
        if n_tokens < 1:
            raise RequestError(f"n_tokens is {n_tokens}, expected 1 or more")
        self.n_tokens = n_tokens
        self.settings = settings or SamplingSettings()
        self.stop = (stop,) if isinstance(stop, str) else tuple(stop)
        if isinstance(seed, int) and seed < 0:
            raise RequestError(f"seed is {seed}, expected 0 or more")
        self._rng = np.random.default_rng(seed)
        self.n_reused = 0
        self._cache: KVCache | None = None
        self._cached: list[int] = []
        self._prompt: Prompt | None = None
        self._answer: Answer | None = None

    @property
    def messages(self) -> list[Message]:
        """Copies of all messages so far, {"role": ..., "content": ...} each; the system's first."""
        return [dict(message) for message in self._messages]

    @property
    def system(self) -> str | None:
        """What the model is told before the conversation; None for nothing. May be set at any time.

        A template may put words of its own there where nothing is given; "" is given.
        """
        first = self._messages[0] if self._messages else None
        return first["content"] if first and first["role"] == "system" else None

    @system.setter
    def system(self, text: str | None) -> None:
        kept = self._messages[1:] if self.system is not None else self._messages
        said = [] if text is None else [{"role": "system", "content": checked_text(text, "system")}]
        self._messages = said + kept

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._model.tokenizer

    @property
    def missing_pieces(self) -> tuple[str, ...]:
        """Special tokens that a template of ours needs and this model does not have."""
        return self._writer.missing_pieces

    @property
    def tokens(self) -> list[int]:
        """The ids that the model read last, prompt and answer; empty before the first answer."""
        if self._answer is not None:
            return list(self._answer.generation.tokens)
        return []

    @property
    def rendered(self) -> str:
        """The text of the last prompt, as the template wrote it; "" before the first."""
        return self._prompt.text if self._prompt else ""

    @property
    def n_typed_specials(self) -> int:
        """How many names of special tokens the messages of the last prompt hold; all stay text."""
        return self._prompt.n_typed_specials if self._prompt else 0

    def seen(self) -> list[Seen]:
        """What the model read last, prompt and answer, token by token."""
        tokenizer = self._model.tokenizer
        found: list[Seen] = []
        decoder = StreamDecoder(tokenizer, at_start=False)
        by_template = self._prompt.specials if self._prompt else frozenset()
        for token in self.tokens:
            is_control = token in tokenizer.special_ids and not tokenizer.piece(token)
            is_special = is_control or token in by_template
            text = tokenizer.name(token) if is_special else decoder.push(token)
            found.append(Seen(token, text, is_special))
        return found

    def say(self, text: str) -> Answer:
        """Add a message of the user's; iterate over what is returned for the pieces of the answer.

        An answer that is not read to its end stays as far as it was read.

        Raises:
            ContextFull: there is no room for an answer; the message is not added.
            RequestError, FormatError: the template refuses the messages or cannot be used; the
                message is not added.
        """
        self._end_answer()
        message = {"role": "user", "content": checked_text(text, "message")}
        return self._answered([*self._messages, message])

    def regenerate(self, kept: Sequence[int] = ()) -> Answer:
        """Answer the last message of the user's again; the random numbers go on.

        Args:
            kept: ids with which the answer begins.
        Raises:
            RequestError: nothing was said yet.
        """
        self._end_answer()
        messages = self._messages
        while messages and messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        if not messages or messages[-1]["role"] != "user":
            raise RequestError("conversation: nothing was said yet, so there is nothing to answer")
        return self._answered(messages, kept)

    def reset(self) -> None:
        """Forget everything but the system's message."""
        self._end_answer()
        self._messages = self._messages[:1] if self.system is not None else []
        self._prompt = self._answer = None
        self.n_reused = 0

    def drop_oldest(self, n_turns: int = 1) -> int:
        """Forget the oldest messages of the user's, with their answers; the system's stays.

        Returns:
            How many messages were dropped.
        Raises:
            RequestError: there are fewer turns.
        """
        self._end_answer()
        starts = [i for i, message in enumerate(self._messages) if message["role"] == "user"]
        if not 1 <= n_turns <= len(starts):
            raise RequestError(
                f"drop_oldest: {n_turns} turns, expected 1 to {len(starts)}, as many as there are"
                if starts
                else "drop_oldest: there is no turn to drop"
            )
        first = 1 if self.system is not None else 0
        end = [*starts, len(self._messages)][n_turns]
        self._messages = self._messages[:first] + self._messages[end:]
        return end - first

    def close(self) -> None:
        """End the answer that is being written, and the process that renders templates."""
        self._end_answer()
        self._writer.close()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        n = len(self._messages)
        name = self._model.checkpoint.paths[0].name
        return f"Conversation({name!r}, {self.template.name} template, {n} messages)"

    def _send_instead(self) -> str:
        return "its messages and the path of its model"

    def _answered(self, messages: list[Message], kept: Sequence[int] = ()) -> Answer:
        """Start the answer to these messages, which become the conversation if it can start."""
        prompt = self._writer.prompt(messages)
        tokens = [*prompt.ids, *kept]
        context = self._model.config.max_seq_len
        if len(tokens) >= context:
            raise ContextFull(
                f"context: the conversation has {len(tokens):,} tokens, the model's context is "
                f"{context:,}; drop_oldest() drops its oldest turn, reset() all of them"
            )
        if self._cache is not None:
            self._cache.truncate(min(_common(self._cached, tokens), self._cache.length))
        generation = self._model.generate_tokens(
            tokens, self.n_tokens, self.settings, seed=self._rng, cache=self._cache,
            stop=[*self.stop, *self._stop_of_template()],
        )  # fmt: skip
        self._cache = generation.cache
        self.n_reused = generation.cache.length
        self._prompt = prompt
        decoder = StreamDecoder(self._model.tokenizer, at_start=False)
        message = {"role": "assistant", "content": "".join([decoder.push(t) for t in kept])}
        self._messages = [*messages, message]
        self._answer = Answer(generation, message, self.n_reused, self._remember)
        return self._answer

    def _stop_of_template(self) -> tuple[str, ...]:
        """Strings that end an answer where the special token that should do so does not exist."""
        needs_none = not self.template.needs
        return self.template.stop if needs_none or self.missing_pieces else ()

    def _end_answer(self) -> None:
        if self._answer is not None:
            self._answer.close()

    def _remember(self, generation: Generation) -> None:
        """Note what the cache holds."""
        self._cached = list(generation.tokens[: generation.cache.length])


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many ids two lists have in common at their beginning."""
    n = min(len(a), len(b))
    return next((i for i in range(n) if a[i] != b[i]), n)
