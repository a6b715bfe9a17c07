"""Which experts the routers choose for a text: how often each, and how many neighbors share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.transformer.experts import Choices, choices


class RouterWatch:
    """A tap that keeps what the routers choose, one text after the other; it changes nothing.

    Attributes:
        texts: the Choices of each complete text.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._chunks: dict[str, list[np.ndarray]] = {}
        self.texts: list[Choices] = []

    def __call__(self, name: str, x: np.ndarray) -> np.ndarray:
        """See one step of forward(), and give it back."""
        if name.endswith(".router"):
            self._chunks.setdefault(name, []).append(x.copy())
        return x

    def end_text(self) -> None:
        """The text is complete."""
        self.texts.append(self.so_far())
        self._chunks.clear()

    def so_far(self) -> Choices:
        """The choices of the text that is being seen."""
        seen = {name: np.concatenate(chunks) for name, chunks in self._chunks.items()}
        return choices(seen, self._config)


def use_fractions(texts: Sequence[Choices]) -> np.ndarray:
    """How often each expert is used.

    Returns:
        (n_layers, n_experts) float64, the share of tokens; each row adds up to k.
    """
    chosen = np.concatenate([text.experts for text in texts], axis=1)
    n_layers, n_tokens, _ = chosen.shape
    counts = [np.bincount(of.ravel(), minlength=texts[0].n_experts) for of in chosen]
    return np.array(counts, np.float64).reshape(n_layers, -1) / n_tokens


def shared_fractions(texts: Sequence[Choices]) -> np.ndarray:
    """How many of its experts a token has in common with the one before it.

    Returns:
        (n_layers,) float64, the mean share; NaN if no text has two tokens.
    """
    parts = []
    for text in texts:
        now, before = text.experts[:, 1:], text.experts[:, :-1]
        equal = (now[..., :, None] == before[..., None, :]).any(axis=-1)  # (n_layers, T - 1, k)
        parts.append(equal.mean(axis=-1))
    shared = np.concatenate(parts, axis=1)
    return shared.mean(axis=1) if shared.shape[1] else np.full(len(shared), np.nan)


def shared_by_chance(use: np.ndarray) -> float:
    """The share that two tokens would have in common if their experts had nothing to do with it.

    Each expert is used as often as it is; where all are used alike, this is k / n_experts.

    Args:
        use: (n_layers, n_experts) of use_fractions().
    """
    return float(((use**2).sum(axis=1) / use.sum(axis=1)).mean())
