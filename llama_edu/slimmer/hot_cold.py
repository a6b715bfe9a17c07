"""Hot and cold neurons: which are among the largest of many tokens, and what a text needs of them.

The top tenth of a token is the tenth of a layer's neurons whose |act(gate) * up| is largest there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.slimmer.activations import (
    check_dense,
    check_finite,
    computed,
    layer_and_step,
    too_few,
)
from llama_edu.slimmer.unions import Unions
from llama_edu.transformer.model import Model

#: A neuron in the top tenth of more than this share of the tokens is nearly everybody's.
NEARLY_EVERYBODY = 0.9


@dataclass(frozen=True)
class HotAndCold:
    """How often each neuron was in a token's top tenth.

    Attributes:
        n_tokens: how many positions were computed.
        counts: (n_layers, hidden_dim) int64: of how many tokens' top tenths.
        mean_square: (n_layers, hidden_dim) float64, of act(gate) * up.
        energy_fractions: (n_layers,) float64: what share of the sum of squares of a token its top
            tenth has, mean over the tokens.
        zero_fraction: of all numbers that are exactly zero.
        unions: of the top tenths of neighboring tokens.
    """

    n_tokens: int
    counts: np.ndarray
    mean_square: np.ndarray
    energy_fractions: np.ndarray
    zero_fraction: float
    unions: Unions

    @property
    def nobodys_fraction(self) -> float:
        """The share of neurons that were in no token's top tenth."""
        return float(np.mean(self.counts == 0))

    @property
    def nearly_everybodys_fraction(self) -> float:
        """The share of neurons that were in the top tenth of more than nine in ten tokens."""
        return float(np.mean(self.counts > NEARLY_EVERYBODY * self.n_tokens))

    def hot_first(self) -> list[np.ndarray]:
        """The neurons of each layer, those first that are in most tokens' top tenths.

        Of equal counts the larger mean square comes first, then the smaller number.

        Returns:
            n_layers permutations, (hidden_dim,) int64: w_gate[order] has the hottest row first.
        """
        pairs = zip(self.counts, self.mean_square, strict=True)
        return [np.lexsort((-squares, -counts)).astype(np.int64) for counts, squares in pairs]


def top_tenth(activated: np.ndarray) -> np.ndarray:
    """Which numbers of each row are the largest tenth, at least one: (T, hidden_dim) bool."""
    hidden_dim = activated.shape[1]
    n = max(1, round(hidden_dim / 10))
    largest = np.argpartition(np.abs(activated), hidden_dim - n, axis=1)[:, hidden_dim - n :]
    found = np.zeros(activated.shape, bool)
    np.put_along_axis(found, largest, True, axis=1)
    return found


def hot_and_cold(
    model: Model,
    texts: Iterable[Sequence[int]],
    *,
    progress: Callable[[int], object] | None = None,
) -> HotAndCold:
    """Compute texts and count in how many tokens' top tenths each neuron is.

    Memory: a few numbers per neuron, and a byte for each neuron of each token of one text.

    Args:
        texts: ids with the model's own start; each fits the context.
        progress: called with the number of positions computed so far.
    Raises:
        RequestError: fewer than two tokens, or a mixture of experts.
        NumericalError: a neuron is NaN or infinite.
    """
    config = model.config
    check_dense(config)
    shape = (config.n_layers, config.hidden_dim)
    counts, squares = np.zeros(shape, np.int64), np.zeros(shape)
    energy = np.zeros(config.n_layers)
    unions = Unions(config.n_layers)
    n_zeros = 0

    def see(name: str, x: np.ndarray) -> np.ndarray:
        nonlocal n_zeros
        layer, what = layer_and_step(name)
        if what == "activated":
            check_finite(layer, x)
            square, top = np.square(x, dtype=np.float64), top_tenth(x)
            counts[layer] += top.sum(axis=0)
            squares[layer] += square.sum(axis=0)
            in_top, in_all = np.where(top, square, 0).sum(axis=1), square.sum(axis=1)
            # a top tenth of nothing but zeros has all that there is
            shares = np.divide(in_top, in_all, out=np.ones_like(in_all), where=in_all > 0)
            energy[layer] += shares.sum()
            n_zeros += x.size - int(np.count_nonzero(x))
            unions.see(layer, top)
        return x

    n_tokens = computed(model, texts, see, progress, unions.end_text)
    if n_tokens < 2:
        raise RequestError(f"neurons: {too_few(n_tokens)}")
    return HotAndCold(
        n_tokens,
        counts,
        squares / n_tokens,
        energy / n_tokens,
        n_zeros / (n_tokens * counts.size),
        unions,
    )


def hot_first(model: Model, texts: Iterable[Sequence[int]]) -> list[np.ndarray]:
    """The neurons of each layer in the order of how many tokens need them; see HotAndCold."""
    return hot_and_cold(model, texts).hot_first()
