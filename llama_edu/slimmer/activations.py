"""How large the numbers of the feed-forward block are: each layer's distribution, from one text.

A neuron is one number of act(gate) * up. What is kept of a text does not grow with it: for each
layer a histogram of 65,536 bins (512 KiB) for each of two sizes, and one sum for each neuron.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import numpy as np

from llama_edu.config import Activation, ModelConfig
from llama_edu.errors import NumericalError, RequestError
from llama_edu.transformer import kernels
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import PREFILL_CHUNK
from llama_edu.transformer.model import Model, forward
from llama_edu.transformer.step import step
from llama_edu.transformer.tap import Tap

#: What a neuron is measured by: |act(gate) * up|, which is its true size, or |act(gate)| alone.
Size = Literal["activated", "gate"]

#: float32 numbers from 0 up are ordered as their bits are; the upper 16 of the 31 bits after the
#: sign make bins that are 1/256 to 1/128 of their numbers wide. The first holds 0 alone, nearly.
_N_BINS = 1 << 16
_SHIFT = 15


@dataclass(frozen=True)
class Activations:
    """What one text says about the neurons of a model.

    Attributes:
        n_tokens: how many positions were computed.
        mean_square: (n_layers, hidden_dim) float64, mean of (act(gate) * up)² of each neuron.
        counts: (n_layers, 65536) int64 of each size: the histogram over all tokens and neurons.
    """

    n_tokens: int
    mean_square: np.ndarray
    counts: dict[Size, np.ndarray]

    def thresholds(self, size: Size, share: float) -> np.ndarray:
        """The size below which this share of a layer's numbers lies, within a bin interpolated.

        What lies at or below the threshold is to be left out; exact zeros always are.

        Args:
            share: 0 to 1 of the neurons of a token, on average over the text.
        Returns:
            (n_layers,) float32, at least 0, but -1 for share 0 and infinite for share 1.
        Raises RequestError for another share.
        """
        check_share(share)
        if share in (0, 1):  # nothing, not even zeros; everything, even a size that is larger here
            return np.full(len(self.mean_square), np.inf if share else -1, np.float32)
        return np.array([_quantile(counts, share) for counts in self.counts[size]], np.float32)


def _quantile(counts: np.ndarray, share: float) -> float:
    """The number below which a share of a histogram lies."""
    below = np.cumsum(counts)
    wanted = share * below[-1]
    found = int(np.searchsorted(below, wanted))  # the first bin up to whose end so many lie
    low, high = np.array([found, found + 1], np.uint32) << np.uint32(_SHIFT)
    lower, upper = np.array([low, high], np.uint32).view(np.float32).astype(np.float64)
    within = (wanted - (below[found] - counts[found])) / max(counts[found], 1)
    return float(lower + within * (upper - lower))


def check_share(share: float) -> None:
    """Raise RequestError unless it is a number from 0 to 1."""
    if not (isinstance(share, Real) and math.isfinite(share) and 0 <= share <= 1):
        raise RequestError(
            f"neurons: a share of {share} is to be left out, expected a number from 0 to 1, such "
            f"as 0.5"
        )


def check_dense(config: ModelConfig) -> None:
    """Raise RequestError for a mixture of experts, whose neurons no token computes all of."""
    if config.n_experts:
        raise RequestError(
            f"neurons: the model has {config.n_experts} experts, expected one feed-forward network "
            f"per layer; a mixture of experts leaves neurons out already, by its router"
        )


def check_finite(layer: int, activated: np.ndarray) -> None:
    """Raise NumericalError for a layer whose neurons are not all numbers."""
    if not np.isfinite(activated).all():
        raise NumericalError(
            f"neurons: layer {layer} is NaN or infinite, expected numbers; the weights are damaged"
        )


def too_few(n_tokens: int) -> str:
    """What to say of a text of no token or of one."""
    return f"{n_tokens} token{'s' * (n_tokens != 1)}, expected at least two; give a longer text"


def gate_size(gate: np.ndarray, activation: Activation) -> np.ndarray:
    """|act(gate)|: (T, hidden_dim) float32, a new array."""
    act = np.maximum(gate, np.float32(0)) if activation == "relu" else kernels.silu(gate)
    return np.abs(act, out=act)  # of -0.0 as well, whose bits are not those of the smallest number


def observe_activations(
    model: Model,
    texts: Iterable[Sequence[int]],
    *,
    progress: Callable[[int], object] | None = None,
) -> Activations:
    """Compute texts and keep the distribution of their neurons.

    Args:
        texts: ids with the model's own start; each fits the context.
        progress: called with the number of positions computed so far.
    Raises:
        RequestError: fewer than two tokens, or a mixture of experts.
        NumericalError: a neuron is NaN or infinite.
    """
    config = model.config
    check_dense(config)
    squares = np.zeros((config.n_layers, config.hidden_dim))
    shape = (config.n_layers, _N_BINS)
    counts: dict[Size, np.ndarray] = {
        "activated": np.zeros(shape, np.int64), "gate": np.zeros(shape, np.int64)
    }  # fmt: skip

    def count(layer: int, size: Size, sizes: np.ndarray) -> None:
        bits = sizes.reshape(-1).view(np.uint32) >> np.uint32(_SHIFT)
        counts[size][layer] += np.bincount(bits, minlength=_N_BINS)

    def see(name: str, x: np.ndarray) -> np.ndarray:
        layer, what = layer_and_step(name)
        if what == "gate":
            count(layer, "gate", gate_size(x, config.activation))
        elif what == "activated":
            check_finite(layer, x)
            count(layer, "activated", np.abs(x))
            squares[layer] += np.einsum("th,th->h", x, x, dtype=np.float64)
        return x

    n_tokens = computed(model, texts, see, progress)
    if n_tokens < 2:
        raise RequestError(f"calibration: {too_few(n_tokens)}")
    return Activations(n_tokens, squares / n_tokens, counts)


def computed(
    model: Model,
    texts: Iterable[Sequence[int]],
    tap: Tap,
    progress: Callable[[int], object] | None = None,
    end_of_text: Callable[[], object] | None = None,
) -> int:
    """Compute each text from its start, in chunks; how many positions there were.

    Args:
        progress: called with the number of positions so far. end_of_text: called after each text.
    Raises:
        RequestError: an unknown id, or a text longer than the context.
        FormatError: a mapped file of the weights was cut off or written over.
    """
    n_tokens = 0
    for text in texts:
        cache = KVCache(model.config, max(len(text), 1))
        for start in range(0, len(text), PREFILL_CHUNK):
            chunk = text[start : start + PREFILL_CHUNK]
            with step(model):
                forward(model, chunk, cache, last_only=True, tap=tap)
            n_tokens += len(chunk)
            if progress:
                progress(n_tokens)
        if end_of_text:
            end_of_text()
    return n_tokens


def layer_and_step(name: str) -> tuple[int, str]:
    """(3, "gate") of "layers.3.gate"; (-1, name) of a step outside the layers."""
    if not name.startswith("layers."):
        return -1, name
    _, layer, what = name.split(".")
    return int(layer), what
