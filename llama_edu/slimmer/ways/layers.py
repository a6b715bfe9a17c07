"""Whole layers left out. What goes on from layer to layer is x, so the rest still fits together."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from llama_edu.errors import RequestError
from llama_edu.quality.losses import token_nats
from llama_edu.transformer.model import Model

_Named = TypeVar("_Named")


def renumbered(
    named: Mapping[str, _Named], n_layers: int, left_out: Collection[int]
) -> dict[str, _Named]:
    """Weights (or where they lie) without some layers, the others numbered from 0 again."""
    stay = [layer for layer in range(n_layers) if layer not in left_out]
    new_number = {str(old): new for new, old in enumerate(stay)}
    found = {}
    for name, value in named.items():
        if not name.startswith("layers."):
            found[name] = value
            continue
        _, old, rest = name.split(".", 2)
        if old in new_number:
            found[f"layers.{new_number[old]}.{rest}"] = value
    return found


def without_layers(model: Model, left_out: Collection[int]) -> Model:
    """A model with fewer layers, made of the same arrays.

    Raises RequestError for a layer that there is not, or where none would be left.
    """
    n = model.config.n_layers
    wrong = [layer for layer in left_out if not 0 <= layer < n]
    if wrong:
        raise RequestError(f"layers left out: layer {wrong[0]}, expected 0 to {n - 1}")
    if len(set(left_out)) == n:
        raise RequestError(f"layers left out: all {n}, expected at least one that stays")
    config = replace(model.config, n_layers=n - len(set(left_out)))
    return replace(model, config=config, weights=renumbered(model.weights, n, left_out))


@dataclass(frozen=True)
class Choice:
    """One greedy step.

    Attributes:
        left_out: the layers chosen so far, in that order.
        nats: per token of the calibration text, for each layer that could be the last of them.
    """

    left_out: tuple[int, ...]
    nats: dict[int, float]


def greedy_choices(
    model: Model,
    texts: Sequence[Sequence[int]],
    n: int,
    progress: Callable[[int], object] | None = None,
) -> Iterator[Choice]:
    """Leave out the layer that costs least, then the one that costs least after that, up to n.

    Greedy: the best pair need not contain the best single layer. Each step tries every layer that
    is left, so that the first one is leave-one-out.

    Args:
        texts: by which the choice is made; never those that are scored afterwards.
        progress: called with the number of tokens after each model that was tried.
    """
    left_out: tuple[int, ...] = ()
    for _ in range(min(n, model.config.n_layers - 1)):
        nats = {}
        for layer in range(model.config.n_layers):
            if layer not in left_out:
                tried = without_layers(model, (*left_out, layer))
                found = token_nats(tried, texts)
                nats[layer] = float(found.mean())
                if progress:
                    progress(len(found))
        left_out = (*left_out, min(nats, key=lambda layer: nats[layer]))
        yield Choice(left_out, nats)
