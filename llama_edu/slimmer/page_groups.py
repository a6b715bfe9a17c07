"""To skip whole pages and not neurons: all neurons of a page are kept or left out together.

Neurons whose rows begin in one page are a group; its size is the root of the sum of their squares.
Thresholds are per layer and from another text, as in masks.py. This is an oracle as well: it knows
the sizes of what it skips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.files.layout import TensorSpec
from llama_edu.slimmer.activations import check_dense, check_share, computed, layer_and_step
from llama_edu.transformer.model import Model


@dataclass(frozen=True)
class PageGroups:
    """The hidden neurons of each layer in groups that begin in one page.

    Attributes:
        starts: for each layer, (n_groups,) int64: the place in the file of each group's first one.
        order: (n_layers, hidden_dim) int64: which neuron of the model stands at each place.
    """

    starts: tuple[np.ndarray, ...]
    order: np.ndarray

    @property
    def mean_neurons(self) -> float:
        """Neurons per group, mean of all layers."""
        return self.order.size / sum(map(len, self.starts))

    def sizes(self, layer: int, activated: np.ndarray) -> np.ndarray:
        """How large each group is: (T, hidden_dim) in the model's order to (T, n_groups)."""
        squares = np.square(activated[:, self.order[layer]])
        return np.sqrt(np.add.reduceat(squares, self.starts[layer], axis=1))

    def at_places(self, layer: int, kept: np.ndarray) -> np.ndarray:
        """(T, n_groups) bool as (T, hidden_dim), in the order of the file."""
        lengths = np.diff(self.starts[layer], append=self.order.shape[1])
        return np.repeat(kept, lengths, axis=1)


def page_groups(
    tensors: Mapping[str, TensorSpec],
    config: ModelConfig,
    page_size: int,
    order: np.ndarray | None = None,
) -> PageGroups:
    """The groups of a file whose rows of w_gate, or whole neurons, lie one after the other.

    Args:
        tensors: by our names. order: (n_layers, hidden_dim) int64, which neuron of the model that
            is asked stands at each place of the file; None where they are the same.
    Raises RequestError for a mixture of experts.
    """
    check_dense(config)
    starts = []
    for layer in range(config.n_layers):
        spec = tensors[f"layers.{layer}.w_gate"]
        step = spec.strides[0] if spec.strides else spec.n_bytes // spec.shape[0]
        pages = (spec.offset + step * np.arange(config.hidden_dim)) // page_size
        starts.append(np.flatnonzero(np.diff(pages, prepend=-1)))
    if order is None:
        order = np.tile(np.arange(config.hidden_dim), (config.n_layers, 1))
    return PageGroups(tuple(starts), order)


def group_thresholds(
    model: Model,
    texts: Iterable[Sequence[int]],
    groups: PageGroups,
    shares: Sequence[float],
    progress: Callable[[int], object] | None = None,
) -> dict[float, np.ndarray]:
    """The size below which each share of a layer's groups lies, on a calibration text.

    Memory: a float32 for each group of each token.

    Args:
        shares: of the groups, each 0 to 1.
    Returns:
        share -> (n_layers,) float32.
    Raises RequestError for another share, and what computed() raises.
    """
    for share in shares:
        check_share(share)
    found: list[list[np.ndarray]] = [[] for _ in groups.starts]

    def see(name: str, x: np.ndarray) -> np.ndarray:
        layer, what = layer_and_step(name)
        if what == "activated":
            found[layer].append(groups.sizes(layer, x))
        return x

    computed(model, texts, see, progress)
    sizes = [np.concatenate(chunks) for chunks in found]
    return {
        share: np.array([np.quantile(layer, share) for layer in sizes], np.float32)
        for share in shares
    }


class GroupTap:
    """A tap that sets all neurons of a group to zero where the group is not above the threshold.

    Args:
        thresholds: (n_layers,) float32 of group_thresholds().
        on_mask: called with each layer and its mask, (T, hidden_dim) bool, True: kept, in the order
            of the file.
    Attributes:
        n_neurons, n_left_out: of all layers and positions that it has seen.
    """

    def __init__(
        self,
        groups: PageGroups,
        thresholds: np.ndarray,
        on_mask: Callable[[int, np.ndarray], object] | None = None,
    ) -> None:
        self._groups, self._thresholds, self._on_mask = groups, thresholds, on_mask
        self.n_neurons = self.n_left_out = 0

    @property
    def left_out_fraction(self) -> float:
        """The share of neurons that were really left out."""
        return self.n_left_out / max(self.n_neurons, 1)

    def __call__(self, name: str, x: np.ndarray) -> np.ndarray:
        """Of transformer/tap.py: changes "activated" in place, and nothing else."""
        layer, what = layer_and_step(name)
        if what == "activated":
            kept = ~(self._groups.sizes(layer, x) <= self._thresholds[layer])
            places = self._groups.at_places(layer, kept)
            self.n_neurons += places.size
            self.n_left_out += places.size - int(np.count_nonzero(places))
            if self._on_mask:
                self._on_mask(layer, places)
            in_model = np.empty_like(places)
            in_model[:, self._groups.order[layer]] = places
            np.copyto(x, 0, where=~in_model)
        return x
