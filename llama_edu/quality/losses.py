"""How well a model predicts a text, token by token, and how much worse a changed model does.

Two models find the same tokens hard, so the difference of each token varies far less than its loss,
and a few hundred tokens tell a hundredth of a nat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from llama_edu.errors import NumericalError, RequestError
from llama_edu.table import Rows
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import PREFILL_CHUNK, where_not_finite
from llama_edu.transformer.model import FeedForward, Model, forward
from llama_edu.transformer.step import step
from llama_edu.transformer.tap import Tap

#: Positions whose probabilities are worked out at a time, so that float64 takes little memory.
_POSITIONS = 32


@dataclass(frozen=True)
class Loss(Rows):
    """The difference between two models on the same tokens.

    Attributes:
        nats: mean of what the second loses more than the first, per token; negative is a gain.
        standard_error: of that mean, over tokens taken as independent.
        n_tokens: how many tokens were scored.
    """

    nats: float
    standard_error: float
    n_tokens: int

    def __str__(self) -> str:
        return f"{self.nats:+.4f} ± {self.standard_error:.4f}"


def scored_logits(
    model: Model,
    ids: Sequence[int],
    first: int = 1,
    *,
    tap: Tap | None = None,
    ffn: FeedForward | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The scores by which a model predicts the ids of a text from `first` on, chunk by chunk.

    Args:
        ids: two or more, with the model's own start; they fit the context.
        first: 1 or more. Ids before it are context alone.
        tap, ffn: of forward().
    Yields:
        (T, vocab_size) float32 scores, and (T,) the ids that they are to predict.
    Raises:
        NumericalError: a score is NaN or infinite.
        FormatError: a mapped file of the weights was cut off or written over.
    """
    cache = KVCache(model.config, len(ids))
    for start in range(0, len(ids) - 1, PREFILL_CHUNK):
        chunk = ids[start : min(start + PREFILL_CHUNK, len(ids) - 1)]
        is_context = start + len(chunk) < first
        with step(model):
            scores = forward(model, chunk, cache, last_only=is_context, tap=tap, ffn=ffn)
        if not np.isfinite(scores.max(axis=-1)).all():  # NaN where any score is
            raise NumericalError(
                f"loss: scores are NaN or infinite at positions {start} to "
                f"{start + len(chunk) - 1} of a text, expected numbers (it began at "
                f"{where_not_finite(cache)}); the weights are damaged"
            )
        if not is_context:
            skipped = max(0, first - 1 - start)
            yield scores[skipped:], np.asarray(ids[start + 1 + skipped : start + 1 + len(chunk)])


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """(T, vocab_size) float64 logarithms of probabilities, of float32 scores; a new array."""
    shifted = scores - scores.max(axis=-1, keepdims=True).astype(np.float64)
    return cast(np.ndarray, shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def in_blocks(n: int) -> Iterator[slice]:
    """Slices of so many positions, few enough for float64."""
    return (slice(start, start + _POSITIONS) for start in range(0, n, _POSITIONS))


def nats_of(scores: np.ndarray, following: np.ndarray) -> np.ndarray:
    """-log p of the ids that follow: (T,) float64, from (T, vocab_size) float32 and (T,) ids."""
    nats = np.empty(len(scores))
    for block in in_blocks(len(scores)):
        found = log_softmax(scores[block])
        nats[block] = -found[np.arange(len(found)), following[block]]
    return nats


def token_nats(
    model: Model,
    texts: Iterable[Sequence[int]],
    *,
    tap: Tap | None = None,
    ffn: FeedForward | None = None,
    progress: Callable[[int], object] | None = None,
    end_of_text: Callable[[], object] | None = None,
) -> np.ndarray:
    """-log p of every token but the first of each text, given those before it in that text.

    Args:
        texts: ids with the model's own start (BOS, where it has one); each fits the context.
        tap, ffn: of forward().
        progress: called with the number of tokens scored so far.
        end_of_text: called after each text that was scored.
    Returns:
        (n_tokens,) float64, the texts one after the other; a new array.
    Raises:
        RequestError: no text has two tokens, or one is longer than the context.
        NumericalError: a score is NaN or infinite.
        FormatError: a mapped file of the weights was cut off or written over.
    """
    found: list[np.ndarray] = []
    n_scored = 0
    for text in texts:
        if len(text) < 2:
            continue
        for scores, following in scored_logits(model, text, tap=tap, ffn=ffn):
            found.append(nats_of(scores, following))
            n_scored += len(following)
            if progress:
                progress(n_scored)
        if end_of_text:
            end_of_text()
    if not found:
        raise RequestError("loss: no text has two tokens or more, expected one to score")
    return np.concatenate(found)


def paired_loss(base: np.ndarray, changed: np.ndarray) -> Loss:
    """What the second of two models loses more than the first on the same tokens.

    Args:
        base, changed: (n_tokens,) float64 of token_nats().
    Raises RequestError unless both have the same number of tokens, and more than one.
    """
    if base.shape != changed.shape or base.ndim != 1 or len(base) < 2:
        raise RequestError(
            f"loss: {base.shape} and {changed.shape} nats, expected two rows of the same tokens, "
            f"two or more"
        )
    difference = changed - base
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return Loss(float(difference.mean()), error, len(difference))


def divergence(scores: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the probabilities by some scores are from those by the first ones.

    Args:
        scores, others: (T, vocab_size) float32.
    Returns:
        (T,) float64 nats, the Kullback-Leibler divergence sum p log(p / q), p by `scores`; and (T,)
        bool, whether both find the same token likeliest. NaN makes the first NaN and the second
        False.
    """
    nats = np.empty(len(scores))
    same = scores.argmax(axis=1) == others.argmax(axis=1)  # argmax gives the place of a NaN
    same &= ~(np.isnan(scores).any(axis=1) | np.isnan(others).any(axis=1))
    for block in in_blocks(len(scores)):
        p, q = log_softmax(scores[block]), log_softmax(others[block])
        chances = np.exp(p)
        with np.errstate(invalid="ignore"):
            terms = chances * (p - q)
        nats[block] = np.where(chances == 0, 0, terms).sum(axis=1)  # 0 log 0 is 0
    return nats, same
