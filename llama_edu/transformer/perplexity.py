"""How surprised a model is by a text: nats per token, and perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import NumericalError, RequestError
from llama_edu.matmul.blas import blas_threads
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import PREFILL_CHUNK, where_not_finite
from llama_edu.transformer.model import Model, forward


@dataclass(frozen=True)
class Perplexity:
    """The result of one measurement.

    Attributes:
        nats_per_token: mean of -log p(token | the tokens before it in its window).
        n_tokens: how many tokens were scored. n_windows: how many windows they came from.
        context: positions of a full window, BOS included.
    """

    nats_per_token: float
    n_tokens: int
    n_windows: int
    context: int

    @property
    def perplexity(self) -> float:
        """exp(nats per token): among how many equally likely tokens the model hesitates."""
        return math.exp(self.nats_per_token)

    def __str__(self) -> str:
        return (
            f"{self.nats_per_token:.4f} nats per token, perplexity {self.perplexity:.3f}\n"
            f"({self.n_tokens:,} tokens in {self.n_windows} windows of {self.context} positions, "
            f"side by side; each window starts with BOS and every other token in it is scored)"
        )


def perplexity(
    model: Model,
    tokens: Sequence[int],
    bos_id: int,
    context: int,
    progress: Callable[[int, int], None] | None = None,
) -> Perplexity:
    """Score a text cut into windows that do not overlap.

    Args:
        tokens: the text without BOS. context: positions per window, BOS included.
        progress: called with (tokens scored, tokens in all) after each window.
    Raises:
        RequestError: no tokens, or a context that the model does not have.
        NumericalError: the model's scores are NaN or infinite.
    """
    if not 2 <= context <= model.config.max_seq_len:
        raise RequestError(
            f"context is {context}, expected 2 to {model.config.max_seq_len}, the model's own"
        )
    if len(tokens) == 0:
        raise RequestError("the text has no tokens, expected at least one")
    total, n_scored = 0.0, 0
    starts = range(0, len(tokens), context - 1)
    for start in starts:
        window = [bos_id, *tokens[start : start + context - 1]]
        total += _window_nats(model, window)
        n_scored += len(window) - 1
        if progress:
            progress(n_scored, len(tokens))
    return Perplexity(total / n_scored, n_scored, len(starts), context)


def _window_nats(model: Model, window: Sequence[int]) -> float:
    """Sum of -log p over all tokens of a window but the first."""
    cache = KVCache(model.config, len(window))
    total = 0.0
    for start in range(0, len(window) - 1, PREFILL_CHUNK):
        chunk = window[start : min(start + PREFILL_CHUNK, len(window) - 1)]
        # infinities and NaNs of damaged weights are named below, not warned of
        with blas_threads(model.blas_threads), np.errstate(over="ignore", invalid="ignore"):
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
