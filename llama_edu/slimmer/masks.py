"""Which neurons a token may do without: three ways to choose them, as a tap and as a mask.

| way | leaves out | what a program must know for it |
|---|---|---|
| oracle | the smallest act(gate) * up of the token | what it skips: no program can do that |
| gate | the smallest act(gate) of the token | w_gate in full; CATS, arXiv 2404.08763 |
| fixed | those with the smallest mean square | nothing: the same set for every token |

Thresholds are per layer and from another text, so that a token has no fixed number of neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError, ShapeError
from llama_edu.slimmer.activations import (
    Activations,
    Size,
    check_dense,
    check_share,
    computed,
    gate_size,
    layer_and_step,
)
from llama_edu.text import quoted
from llama_edu.transformer.model import Model

#: How neurons are chosen. An oracle's result is a bound, not what a program could reach.
Way = Literal["oracle", "gate", "fixed"]
WAYS: tuple[Way, ...] = get_args(Way)

_SIZE: dict[Way, Size] = {"oracle": "activated", "gate": "gate"}


@dataclass(frozen=True)
class Choice:
    """A rule that says for each neuron of each token whether it is kept.

    Attributes:
        share: of the neurons that was to be left out; on another text it comes out a little
            different, and on one with more exact zeros than that it is larger.
        thresholds: (n_layers,) float32; a neuron is left out where its size is not larger. None
            for fixed.
        fixed: (n_layers, hidden_dim) bool, True: kept. None for the other ways.
    """

    way: Way
    share: float
    thresholds: np.ndarray | None = None
    fixed: np.ndarray | None = None


def choose(activations: Activations, way: Way, share: float) -> Choice:
    """A rule that leaves out this share of the neurons, learned from a calibration text.

    Args:
        activations: of the calibration text; see observe_activations().
        way: "oracle", "gate" or "fixed". share: 0 (all are kept) to 1 (none is).
    Raises RequestError for another way or share.
    """
    check_share(share)
    if way not in WAYS:
        raise RequestError(f"neurons: way {quoted(str(way), 40)}, expected {', '.join(WAYS)}")
    if way != "fixed":
        return Choice(way, share, thresholds=activations.thresholds(_SIZE[way], share))
    n_layers, hidden_dim = activations.mean_square.shape
    smallest_first = np.argsort(activations.mean_square, axis=1, kind="stable")
    kept = np.ones((n_layers, hidden_dim), bool)
    np.put_along_axis(kept, smallest_first[:, : round(share * hidden_dim)], False, axis=1)
    return Choice(way, share, fixed=kept)


class MaskTap:
    """A tap that sets to zero what a choice leaves out, and counts it.

    For one computation at a time: it remembers the gate of a layer until the layer's product. A
    neuron that is NaN is kept, so that a mask hides no damage.

    Args:
        on_mask: called with the number of each layer and its mask, (T, hidden_dim) bool, True:
            kept, which may be a read-only view.
    Attributes:
        n_neurons, n_left_out: of all layers and positions that it has seen.
    Raises:
        RequestError: a mixture of experts. ShapeError: the choice is for a model of other sizes.
    """

    def __init__(
        self,
        choice: Choice,
        config: ModelConfig,
        on_mask: Callable[[int, np.ndarray], object] | None = None,
    ) -> None:
        check_dense(config)
        _check_fits(choice, config)
        self._choice, self._activation, self._on_mask = choice, config.activation, on_mask
        self._gate_kept: np.ndarray | None = None
        self.n_neurons = self.n_left_out = 0

    @property
    def left_out_fraction(self) -> float:
        """The share of neurons that were really left out."""
        return self.n_left_out / max(self.n_neurons, 1)

    def __call__(self, name: str, x: np.ndarray) -> np.ndarray:
        """Of transformer/tap.py: changes "activated" in place, and nothing else."""
        layer, what = layer_and_step(name)
        if what == "gate" and self._choice.way == "gate":
            self._gate_kept = self._large(layer, gate_size(x, self._activation))
        elif what == "activated":
            kept = self._kept(layer, x)
            self.n_neurons += kept.size
            self.n_left_out += kept.size - int(np.count_nonzero(kept))
            if self._on_mask:
                self._on_mask(layer, kept)
            np.copyto(x, 0, where=~kept)
        return x

    def _kept(self, layer: int, x: np.ndarray) -> np.ndarray:
        if self._choice.fixed is not None:
            return np.broadcast_to(self._choice.fixed[layer], x.shape)
        if self._choice.way == "gate":
            assert self._gate_kept is not None  # a layer's gate comes before its product
            return self._gate_kept
        return self._large(layer, np.abs(x))

    def _large(self, layer: int, sizes: np.ndarray) -> np.ndarray:
        assert self._choice.thresholds is not None
        return ~(sizes <= self._choice.thresholds[layer])


def _check_fits(choice: Choice, config: ModelConfig) -> None:
    expected: tuple[int, ...] = (config.n_layers,)
    rule = choice.thresholds
    if choice.fixed is not None:
        rule, expected = choice.fixed, (config.n_layers, config.hidden_dim)
    found = None if rule is None else rule.shape
    if found != expected:
        raise ShapeError(
            f"neurons: a choice of shape {found}, expected {expected}; choose them with the same "
            f"model"
        )


def neuron_masks(model: Model, text: Sequence[int], choice: Choice) -> np.ndarray:
    """Which neurons each token of a text keeps, where all earlier ones were masked as well.

    Args:
        text: T ids with the model's own start; fits the context.
    Returns:
        (n_layers, T, hidden_dim) bool, True: kept; a new array of as many bytes.
    Raises:
        RequestError: an unknown id, too many of them, none, or a mixture of experts.
        ShapeError: the choice is for a model of other sizes.
    """
    if len(text) == 0:
        raise RequestError("neurons: the text has no tokens, expected at least one")
    config = model.config
    masks = np.empty((config.n_layers, len(text), config.hidden_dim), bool)
    n_seen = [0] * config.n_layers

    def keep(layer: int, kept: np.ndarray) -> None:
        masks[layer, n_seen[layer] : n_seen[layer] + len(kept)] = kept
        n_seen[layer] += len(kept)

    computed(model, [text], MaskTap(choice, config, keep))
    return masks
