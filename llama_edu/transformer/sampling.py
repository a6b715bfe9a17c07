"""From logits to the next token: greedy, temperature, top-k, top-p, min-p, repeat penalty.

The order is that of llama.cpp in March 2023: penalty, temperature, top-k, softmax, top-p; min-p,
which came later, applies to the same probabilities as top-p. Nothing here is random by itself: the
random generator is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import NumericalError, RequestError


@dataclass(frozen=True)
class SamplingSettings:
    """How to choose the next token; by default every rule but the temperature is off.

    Attributes:
        temperature: logits are divided by it; 0 always takes the likeliest token.
        top_k: keep only the k likeliest; 0 keeps all.
        top_p: keep the fewest tokens whose probabilities add up to p; 1 keeps all.
        min_p: drop tokens less likely than min_p times the likeliest; 0 keeps all.
        repeat_penalty: divides positive and multiplies negative logits of recent tokens; 1 is off.
        repeat_last_n: how many of the newest tokens count as recent.
    """

    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64

    def __post_init__(self) -> None:
        rules = {
            "temperature": (self.temperature >= 0, "0 or more"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
            "top_p": (0 < self.top_p <= 1, "more than 0, at most 1 (off)"),
            "min_p": (0 <= self.min_p <= 1, "0 (off) to 1"),
            "repeat_penalty": (self.repeat_penalty > 0, "more than 0; 1 is off"),
            "repeat_last_n": (self.repeat_last_n >= 0, "0 or more"),
        }
        for name, (holds, expected) in rules.items():
            value = getattr(self, name)
            if not (holds and value < math.inf):  # NaN fails every comparison above
                raise RequestError(f"sampling: {name} is {value}, expected {expected}")


GREEDY = SamplingSettings(temperature=0.0)


def check_scores(logits: np.ndarray) -> None:
    """Raise NumericalError unless the scores can be ranked: no NaN and no +inf.

    -inf means impossible; at least one score must be finite.
    """
    highest = logits.max(initial=-np.inf)
    if np.isfinite(highest):  # NaN would be the maximum
        return
    wrong = np.isnan(logits) | (logits == np.inf)
    if not wrong.any():
        raise NumericalError(
            f"scores: all {len(logits):,} are -inf, expected at least one possible token"
        )
    first = int(wrong.argmax())
    raise NumericalError(
        f"scores: {int(wrong.sum()):,} of {len(logits):,} are NaN or infinite, the first is "
        f"{logits[first]} for token {first}, expected numbers; the weights are damaged"
    )


def candidates(
    logits: np.ndarray, settings: SamplingSettings, recent: Sequence[int] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens that may be chosen and how likely each is.

    Args:
        logits: (vocab_size,) float32, not changed.
        recent: ids seen so far, newest last; only the last `repeat_last_n` count.
    Returns:
        ids (n,) int64, likeliest first, ties in order of id; probabilities (n,) float64, which sum
        to 1.
    Raises:
        NumericalError: see check_scores.
    """
    check_scores(logits)
    scores = penalize(logits, settings, recent)
    if settings.temperature == 0:
        return np.array([np.argmax(scores)]), np.ones(1)
    ids, probabilities = _all_probabilities(scores, settings)
    if settings.top_p < 1:
        # n tokens, each below (1 - p) / n, sum to less than 1 - p: the others reach p without them
        needed = probabilities >= (1 - settings.top_p) / len(ids)
        ids, probabilities = ids[needed], probabilities[needed]
    if settings.min_p > 0:
        good = probabilities >= settings.min_p * probabilities.max()
        ids, probabilities = ids[good], probabilities[good]
    order = np.argsort(-probabilities, kind="stable")  # sorts only what is left by now
    ids, probabilities = ids[order], probabilities[order]
    if settings.top_p < 1:
        n_kept = 1 + int(np.searchsorted(np.cumsum(probabilities), settings.top_p))
        ids, probabilities = ids[:n_kept], probabilities[:n_kept]
    return ids, probabilities / probabilities.sum()


def chances(
    logits: np.ndarray, settings: SamplingSettings, recent: Sequence[int] = ()
) -> np.ndarray:
    """How likely `sample` chooses each token.

    Args:
        logits, recent: as for candidates.
    Returns:
        (vocab_size,) float64, 0 where the settings rule a token out.
    Raises:
        NumericalError: see check_scores.
    """
    ids, probabilities = _unordered(logits, settings, recent)
    by_id = np.zeros(len(logits))
    by_id[ids] = probabilities
    return by_id


def _unordered(
    logits: np.ndarray, settings: SamplingSettings, recent: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """As candidates, in any order: where none is needed, the vocabulary is not sorted."""
    if settings.temperature == 0 or settings.top_p < 1 or settings.min_p > 0:
        return candidates(logits, settings, recent)
    check_scores(logits)
    return _all_probabilities(penalize(logits, settings, recent), settings)


def _all_probabilities(
    scores: np.ndarray, settings: SamplingSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Ids in ascending order and their probabilities, after temperature and top-k."""
    scores = scores.astype(np.float64) - scores.max()
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the best to -inf
        scores /= settings.temperature
    ids = np.arange(len(scores))
    if 0 < settings.top_k < len(scores):
        # partition, not sort; ties with the k-th best are all kept here and resolved by id below
        kth = np.partition(scores, len(scores) - settings.top_k)[len(scores) - settings.top_k]
        ids = np.flatnonzero(scores >= kth)
        scores = scores[ids]
        if len(ids) > settings.top_k:
            surplus = np.flatnonzero(scores == kth)[settings.top_k - len(ids) :]
            ids, scores = np.delete(ids, surplus), np.delete(scores, surplus)
    probabilities = np.exp(scores)
    return ids, probabilities / probabilities.sum()


def penalize(
    logits: np.ndarray, settings: SamplingSettings, recent: Sequence[int] = ()
) -> np.ndarray:
    """Make recent tokens less likely: divide positive logits, multiply negative ones.

    Returns:
        (vocab_size,) float32, a copy, or `logits` itself if there is nothing to change.
    Source: Keskar et al., arXiv 1909.05858, with llama.cpp's rule for negative logits.
    """
    if settings.repeat_penalty == 1 or settings.repeat_last_n == 0 or not len(recent):
        return logits
    ids = np.unique(np.asarray(recent[-settings.repeat_last_n :]))
    penalized = logits.copy()
    chosen = penalized[ids]
    penalty = np.float32(settings.repeat_penalty)
    penalized[ids] = np.where(chosen < 0, chosen * penalty, chosen / penalty)
    return penalized


def sample(
    logits: np.ndarray,
    settings: SamplingSettings,
    rng: np.random.Generator,
    recent: Sequence[int] = (),
) -> int:
    """Choose the next token.

    Args:
        logits: (vocab_size,) float32. rng: drawn from once, or not at all for a single candidate.
    Returns:
        The chosen id.
    Raises:
        NumericalError: see check_scores.
    """
    ids, probabilities = _unordered(logits, settings, recent)
    if len(ids) == 1:
        return int(ids[0])
    chosen = np.searchsorted(np.cumsum(probabilities), rng.random(), side="right")
    return int(ids[min(int(chosen), len(ids) - 1)])  # the sum may round to just below 1
