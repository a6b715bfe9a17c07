"""How much worse a text is predicted by a changed model: differences of the same tokens, in pairs.

Two models find the same tokens hard, so the difference of each token varies far less than its loss,
and a few hundred tokens tell a hundredth of a nat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import NumericalError, RequestError
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import PREFILL_CHUNK
from llama_edu.transformer.model import FeedForward, Model, forward
from llama_edu.transformer.step import step
from llama_edu.transformer.tap import Tap


@dataclass(frozen=True)
class Loss:
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


def token_nats(
    model: Model,
    texts: Iterable[Sequence[int]],
    *,
    tap: Tap | None = None,
    ffn: FeedForward | None = None,
    progress: Callable[[int], object] | None = None,
) -> np.ndarray:
    """-log p of every token but the first of each text, given those before it in that text.

    Args:
        texts: ids with the model's own start (BOS, where it has one); each fits the context.
        tap, ffn: of forward().
        progress: called with the number of tokens scored so far.
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
        cache = KVCache(model.config, len(text))
        for start in range(0, len(text) - 1, PREFILL_CHUNK):
            chunk = text[start : min(start + PREFILL_CHUNK, len(text) - 1)]
            with step(model):
                scores = forward(model, chunk, cache, tap=tap, ffn=ffn).astype(np.float64)
            highest = scores.max(axis=-1, keepdims=True)  # NaN where any score is
            if not np.isfinite(highest).all():
                raise NumericalError(
                    f"loss: scores are NaN or infinite at positions {start} to "
                    f"{start + len(chunk) - 1} of a text, expected numbers; the weights are damaged"
                )
            scores -= highest
            following = np.asarray(text[start + 1 : start + 1 + len(chunk)])
            chosen = scores[np.arange(len(chunk)), following]
            found.append(np.log(np.exp(scores).sum(axis=-1)) - chosen)
            n_scored += len(chunk)
            if progress:
                progress(n_scored)
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
