"""How well a model predicts a text: nats per token, and perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import NumericalError, RequestError
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import PREFILL_CHUNK, where_not_finite
from llama_edu.transformer.model import Model, forward
from llama_edu.transformer.step import step


@dataclass(frozen=True)
class Perplexity:
    """The result of one measurement.

    Attributes:
        nats_per_token: mean of -log p(token | the tokens before it in its window).
        n_tokens: how many tokens were scored. n_windows: how many windows they came from.
        context: positions of a full window. bos: whether each window starts with BOS.
    """

    nats_per_token: float
    n_tokens: int
    n_windows: int
    context: int
    bos: bool

    @property
    def perplexity(self) -> float:
        """exp(nats per token): the number of equally likely tokens with the same uncertainty."""
        return math.exp(self.nats_per_token)

    def __str__(self) -> str:
        start = (
            "each window starts with BOS"
            if self.bos
            else ("each window starts with the last token of the one before")
        )
        windows = "1 window" if self.n_windows == 1 else f"{self.n_windows} windows"
        return (
            f"{self.nats_per_token:.4f} nats per token, perplexity {self.perplexity:.3f}\n"
            f"({self.n_tokens:,} tokens in {windows} of {self.context} positions; "
            f"{start}, and every other token in it is scored)"
        )


def perplexity(
    model: Model,
    tokens: Sequence[int],
    bos_id: int | None,
    context: int,
    progress: Callable[[int, int], None] | None = None,
) -> Perplexity:
    """Score a text cut into windows that do not overlap.

    Args:
        tokens: the text without BOS. context: positions per window.
        bos_id: put in front of each window; None for a model without BOS, whose windows start with
            the last token of the window before, so that all tokens but the first are scored.
        progress: called with (tokens scored, tokens in all) after each window.
    Raises:
        RequestError: too few tokens, or a context that is longer than the model's.
        NumericalError: the model's scores are NaN or infinite.
        FormatError: a mapped file of the weights was cut off or written over.
    """
    if not 2 <= context <= model.config.max_seq_len:
        raise RequestError(
            f"context is {context}, expected 2 to {model.config.max_seq_len}, the model's own"
        )
    if bos_id is not None:
        tokens = [bos_id, *tokens]
    if len(tokens) < 2:
        least = "one" if bos_id is not None else "two, as the model has no BOS"
        raise RequestError(f"the text has {len(tokens)} tokens, expected at least {least}")
    total, n_scored = 0.0, 0
    starts = range(1, len(tokens), context - 1)
    for start in starts:
        first = tokens[start - 1] if bos_id is None else bos_id
        window = [first, *tokens[start : start + context - 1]]
        total += _window_nats(model, window)
        n_scored += len(window) - 1
        if progress:
            progress(n_scored, len(tokens) - 1)
    return Perplexity(total / n_scored, n_scored, len(starts), context, bos_id is not None)


def _window_nats(model: Model, window: Sequence[int]) -> float:
    """Sum of -log p over all tokens of a window but the first."""
    cache = KVCache(model.config, len(window))
    total = 0.0
    for start in range(0, len(window) - 1, PREFILL_CHUNK):
        chunk = window[start : min(start + PREFILL_CHUNK, len(window) - 1)]
        with step(model):
            scores = forward(model, chunk, cache).astype(np.float64)
        highest = scores.max(axis=-1, keepdims=True)  # NaN where any score is
        if not np.isfinite(highest).all():
            raise NumericalError(
                f"perplexity: scores are NaN or infinite, expected numbers (it began at "
                f"{where_not_finite(cache)} of a window); the weights are damaged"
            )
        scores -= highest
        log_sums = np.log(np.exp(scores).sum(axis=-1))
        following = np.asarray(window[start + 1 : start + 1 + len(chunk)])
        total += float(np.sum(log_sums - scores[np.arange(len(chunk)), following]))
    return total
