"""Mixture of experts: in each layer a router chooses the few networks that compute a position.

    p = softmax(h @ router.T)                  one probability for each expert
    shares = p of the k largest / their sum
    y = sum of share * network(h), over these k

The other experts are not read: for one token, most of the file stays untouched. Dividing by the sum
is the same as a softmax over the scores of the chosen ones alone.
Source: Jiang et al., arXiv 2401.04088, section 2.1, where the softmax is that of the chosen ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import NumericalError
from llama_edu.transformer import kernels
from llama_edu.transformer.tap import Tap, untouched


class Reader(Protocol):
    """What is needed here of a Model, which reads its weights and tells the log."""

    @property
    def config(self) -> ModelConfig:
        """The sizes."""

    def norm(self, x: np.ndarray, name: str, /) -> np.ndarray:
        """RMSNorm with one stored vector."""

    def linear(self, x: np.ndarray, name: str, /) -> np.ndarray:
        """The product with one stored matrix."""

    def linears(self, x: np.ndarray, /, *names: str) -> list[np.ndarray]:
        """The products of one input with several."""


def mixture(model: Reader, layer: int, x: np.ndarray, see: Tap = untouched) -> np.ndarray:
    """What each position computes on its own, by the experts that its router chose.

    Args:
        model, layer, x, see: as for feed_forward() of model.py: x is (T, dim).
    Returns:
        (T, dim), to be added to x.
    Raises:
        NumericalError: a router's score is NaN or infinite, and could not choose an expert.
    """
    config, name = model.config, f"layers.{layer}"
    h = see("ffn_norm", model.norm(x, f"{name}.ffn_norm"))
    scores = checked_scores(model.linear(h, f"{name}.router"), f"{name}.router")
    probabilities = see("router", kernels.softmax(scores))  # (T, n_experts)
    chosen = choose(probabilities, config.n_experts_per_token, f"{name}.router")  # (T, k)
    shares = see("shares", shares_of(probabilities, chosen))

    gate, up = np.empty((2, *chosen.shape, config.hidden_dim), np.float32)
    for expert, at in positions_of(chosen):
        network = f"{name}.experts.{expert}"
        gate[at], up[at] = model.linears(h[at[0]], f"{network}.w_gate", f"{network}.w_up")
    gated = kernels.GATED[config.activation](see("gate", gate), see("up", up))
    activated = see("activated", gated)  # (T, k, hidden_dim)

    down = np.zeros_like(x)
    for expert, at in positions_of(chosen):
        y = model.linear(activated[at], f"{name}.experts.{expert}.w_down")
        down[at[0]] += shares[at][:, np.newaxis] * y
    return see("down", down)


def choose(probabilities: np.ndarray, k: int, where: str) -> np.ndarray:
    """The k likeliest experts of each position.

    Of experts that are exactly as likely, the one with the lower number is taken. llama.cpp's
    sorting did the same where it was tried; that of PyTorch, in transformers, took others.

    Args:
        probabilities: (T, n_experts) float32.
        k: how many.
        where: the start of an error message.
    Returns:
        (T, k) int64, each row in ascending order: which expert is likeliest, its share says.
    Raises:
        NumericalError: a probability is NaN or infinite, and could not choose an expert.
    """
    checked_scores(probabilities, where)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return np.sort(order[:, :k], axis=1)


def checked_scores(scores: np.ndarray, where: str) -> np.ndarray:
    """The scores of a router; NumericalError, beginning with `where`, if one is not finite."""
    wrong = ~np.isfinite(scores).all(axis=1)
    if wrong.any():
        raise NumericalError(
            f"{where}: scores of {int(wrong.sum()):,} of {len(wrong):,} positions that were "
            f"computed together are NaN or infinite, the first is number {int(wrong.argmax()):,}, "
            f"expected numbers; the weights are damaged"
        )
    return scores


def shares_of(probabilities: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """By how much each chosen expert counts.

    Args:
        probabilities: (T, n_experts) float32. chosen: (T, k) int64.
    Returns:
        (T, k) float32, new; each row adds up to 1.
    """
    shares = np.take_along_axis(probabilities, chosen, axis=1)
    shares /= np.add.reduce(shares, axis=1, keepdims=True)
    return shares


def positions_of(chosen: np.ndarray) -> list[tuple[int, tuple[np.ndarray, ...]]]:
    """Each expert that was chosen at all, in ascending order, and where: positions and columns.

    Args:
        chosen: (T, k) int64.
    """
    return [(int(expert), np.nonzero(chosen == expert)) for expert in np.unique(chosen)]


@dataclass(frozen=True, eq=False)
class Choices:
    """Which experts computed each token of a text.

    Attributes:
        experts: (n_layers, T, k) int64, ascending in each layer and token.
        shares: (n_layers, T, k) float32, by how much each of them counts.
        n_experts: how many there are to choose from in a layer.
    """

    experts: np.ndarray
    shares: np.ndarray
    n_experts: int

    def used(self, tokens: slice = slice(None)) -> np.ndarray:
        """(n_layers, n_experts) bool: the experts that at least one of these tokens needs."""
        needed = np.zeros((len(self.experts), self.n_experts), bool)
        chosen = self.experts[:, tokens].reshape(len(needed), -1)
        np.put_along_axis(needed, chosen, True, axis=1)
        return needed


def choices(steps: Mapping[str, np.ndarray], config: ModelConfig) -> Choices:
    """The experts that were chosen, from a trace with every "layers.*.router".

    Args:
        steps: name of a step -> its numbers; `Llama.trace(tokens, "layers.*.router")` is one.
        config: of the model.
    """
    experts, shares = [], []
    for layer in range(config.n_layers):
        name = f"layers.{layer}.router"
        chosen = choose(steps[name], config.n_experts_per_token, name)
        experts.append(chosen)
        shares.append(shares_of(steps[name], chosen))
    return Choices(np.array(experts), np.array(shares), config.n_experts)
