"""Prefill the prompt, then decode one token after another."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llama_edu.errors import NumericalError, RequestError
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.tokenizer.stop_strings import StopStrings
from llama_edu.tokenizer.streaming import StreamDecoder
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import Model, check_tokens, forward
from llama_edu.transformer.sampling import SamplingSettings, sample
from llama_edu.transformer.step import step, unchanged_files
from llama_edu.unsendable import Unsendable

#: Why a generation ended: an end token, a stop string, n_tokens, a full context, or close(); ""
#: while it runs.
Reason = Literal["", "eos", "stop", "length", "context", "closed"]

#: Prompt positions computed together. A larger chunk is hardly faster and needs more memory for
#: the attention scores.
PREFILL_CHUNK = 128


@dataclass(frozen=True, eq=False)
class GeneratedToken:
    """One new token; an end token is one only if text before it had not been given out yet.

    That is the U+FFFD of a character cut short, or what might have begun a stop string. Such a
    token's position is the length of the text: it is not in `Generation.tokens`.

    Attributes:
        id: the token. position: its place in the text; BOS has position 0.
        text: what has become certain of the text with this token; "" while a character is
            incomplete, and while it may begin a stop string.
        logits: (vocab_size,) float32, the scores from which it was chosen.
        top: the likeliest tokens at this position, as many as asked for, as (id, text, log
            probability); a control piece, which adds no text, has its name there.
    """

    id: int
    position: int
    text: str
    logits: np.ndarray
    top: tuple[tuple[int, str, float], ...] = ()

    @property
    def logprob(self) -> float:
        """The natural logarithm of the token's probability by the raw scores.

        That is before temperature, top-k, top-p, min-p and the repeat penalty.
        """
        return float(log_softmax(self.logits)[self.id])


class Generation(Unsendable):
    """An iterator over new tokens that also counts and times them.

    Attributes:
        tokens: all ids so far, including BOS and the prompt but not the token that ended the text.
            Where a stop string ended it, the ids that spell this string are the last of them, and
            whatever else the last token had after it.
        text: the new text that was given out so far; no part of a stop string.
        n_prompt: how many of them are the prompt.
        reason: why it ended; "" while it runs. stopped_by: the stop string that ended it, or "".
        prefill_s, decode_s: seconds spent on the prompt and on the new tokens.
        cache: the keys and values of all tokens but the last. rng: the source of the next draw.
            A Generation that is given both, with the same tokens, continues as this one would have.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        n_tokens: int,
        settings: SamplingSettings,
        rng: np.random.Generator,
        *,
        cache: KVCache | None = None,
        stop: str | Sequence[str] = (),
        logprobs: int = 0,
    ) -> None:
        """Check the request; nothing is computed yet.

        Args:
            stop: strings that end the text; no part of one is given out.
            logprobs: how many of the likeliest tokens `GeneratedToken.top` holds.
            cache: holds the beginning of this prompt, which is then not computed again. Further
                positions in it are dropped; if it is too small, a larger one takes its place.
        Raises:
            RequestError: the prompt is longer than the context, or a number is impossible.
        """
        context = model.config.max_seq_len
        if n_tokens < 0:
            raise RequestError(f"n_tokens is {n_tokens}, expected 0 or more")
        if not 0 <= logprobs <= model.config.vocab_size:
            raise RequestError(
                f"logprobs is {logprobs}, expected 0 to {model.config.vocab_size}, the number of "
                f"pieces"
            )
        if len(prompt) > context:
            raise RequestError(
                f"prompt: has {len(prompt)} tokens, the model's context is {context}; shorten it"
            )
        check_tokens(prompt, model.config)
        self.tokens = list(prompt)
        self.n_prompt = len(prompt)
        self.reason: Reason = ""
        self.text = ""
        self._stop = StopStrings(stop)
        self._logprobs = logprobs
        self.prefill_s = self.decode_s = 0.0
        self.rng = rng
        self._model, self._tokenizer, self._settings = model, tokenizer, settings
        self._n_tokens = n_tokens
        self.cache = self._with_room(cache, min(context, len(prompt) + n_tokens))
        self._steps = self._run()

    @property
    def n_new(self) -> int:
        """How many tokens have been generated so far."""
        return len(self.tokens) - self.n_prompt

    @property
    def tokens_per_s(self) -> float:
        """New tokens per second of decoding; the first, which the prefill gives, is not counted."""
        return (self.n_new - 1) / self.decode_s if self.decode_s and self.n_new > 1 else 0.0

    @property
    def stopped_by(self) -> str:
        """The stop string that ended the text; "" where something else did."""
        return self._stop.found

    def __iter__(self) -> Iterator[GeneratedToken]:
        return self._steps

    def close(self) -> None:
        """End early; the tokens generated so far stay, and text that was held back is in `text`."""
        self._steps.close()
        if not self.reason:
            self.reason = "closed"
            self.text += self._stop.finish()

    def _with_room(self, cache: KVCache | None, capacity: int) -> KVCache:
        """The given cache or a larger one, cut before the last token, whose logits are needed."""
        if cache is None:
            return KVCache(self._model.config, capacity)
        n_known = min(cache.length, self.n_prompt - 1)
        if cache.capacity >= capacity:
            cache.truncate(n_known)
            return cache
        larger = KVCache(self._model.config, capacity)
        larger.copy_from(cache, n_known)
        return larger

    def _choose(self, logits: np.ndarray) -> int:
        try:
            return sample(logits, self._settings, self.rng, self.tokens)
        except NumericalError as error:
            raise NumericalError(f"{error} (it began at {where_not_finite(self.cache)})") from None

    def _run(self) -> Generator[GeneratedToken, None, None]:
        # the space that the encoder prepended to the text is dropped once, with the first piece
        decoder = StreamDecoder(self._tokenizer, at_start=True)
        for token in self.tokens:  # the prompt may end inside a character
            decoder.push(token)
        ends = {*self._tokenizer.end_ids, self._tokenizer.eos_id, self._tokenizer.bos_id}
        context = self._model.config.max_seq_len
        start = time.perf_counter()
        logits = prefill(self._model, self.tokens[self.cache.length :], self.cache)
        self.prefill_s = time.perf_counter() - start
        while True:
            if self.n_new >= self._n_tokens:
                self.reason = "length"
                break
            if len(self.tokens) >= context:
                self.reason = "context"
                break
            start = time.perf_counter()
            token = self._choose(logits)
            if token in ends:
                self.reason = "eos"
                break
            position = len(self.tokens)
            self.tokens.append(token)
            is_last = self.n_new >= self._n_tokens or len(self.tokens) >= context
            text = self._stop.push(decoder.push(token))
            if is_last and not self.stopped_by:
                text += self._stop.push(decoder.finish())
                text += "" if self.stopped_by else self._stop.finish()
            self.text += text
            self.decode_s += time.perf_counter() - start
            if self.stopped_by:
                self.reason = "stop"
            yield GeneratedToken(token, position, text, logits, self._top(logits))
            if self.stopped_by:
                return
            if not is_last:
                start = time.perf_counter()
                logits = score_next(self._model, [token], self.cache)
                self.decode_s += time.perf_counter() - start
        rest = self._stop.push(decoder.finish())
        rest += "" if self.stopped_by else self._stop.finish()
        if self.stopped_by:
            self.reason = "stop"
        if rest:  # an end came inside a character, or where a stop string might have begun
            self.text += rest
            yield GeneratedToken(token, len(self.tokens), rest, logits, self._top(logits))

    def _top(self, logits: np.ndarray) -> tuple[tuple[int, str, float], ...]:
        if not self._logprobs:
            return ()
        scores = log_softmax(logits)
        ids = np.argsort(-scores, kind="stable")[: self._logprobs].tolist()
        return tuple((token, self._text_of(token), float(scores[token])) for token in ids)

    def _text_of(self, token: int) -> str:
        piece = self._tokenizer.piece(token)
        return piece.decode("utf-8", "replace") if piece else self._tokenizer.name(token)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(vocab_size,) float64 natural logarithms of the probabilities."""
    scores = logits.astype(np.float64)
    scores -= scores.max()
    scores -= np.log(np.exp(scores).sum())
    return scores


def where_not_finite(cache: KVCache) -> str:
    """Where in a text NaN or infinity began, as a phrase for an error about its last scores."""
    found = cache.first_not_finite()
    if found is None:
        return f"position {cache.length - 1}, after the last layer"
    return f"position {found[0]}, layer {found[1]}"


def prefill(model: Model, tokens: Sequence[int], cache: KVCache) -> np.ndarray:
    """Read all tokens, many positions at once, and score the candidates to follow the last.

    Returns:
        (vocab_size,) float32 logits of the last position.
    """
    logits = np.empty(0, np.float32)
    for start in range(0, len(tokens), PREFILL_CHUNK):
        logits = score_next(model, tokens[start : start + PREFILL_CHUNK], cache)
    return logits


def score_next(model: Model, tokens: Sequence[int], cache: KVCache) -> np.ndarray:
    """Read one chunk of tokens, with BLAS set to the model's number of threads.

    Returns:
        (vocab_size,) float32 logits of the last position.
    Raises:
        FormatError: a mapped file of the weights was cut off or written over.
    """
    logits: np.ndarray
    one_token = model.one_token if len(tokens) == 1 else None
    if one_token is not None and one_token.computes(model):
        with unchanged_files(model):
            logits = one_token(tokens[0], cache)
    else:
        with step(model):
            logits = forward(model, tokens, cache, last_only=True)[0]
    return logits
