"""A feed-forward block that computes the kept neurons alone, and so touches only their pages.

These take the place of feed_forward() in forward(..., ffn=). Rows of w_gate and w_up, and columns
of w_down, are copied from where they are stored; nothing else of the three is read, and the ledger
is told exactly that. For several positions the rows that any of them keeps are read.

| who chooses | reads |
|---|---|
| masks from outside | kept rows of w_gate and w_up, kept columns of w_down |
| the gate (CATS, arXiv 2404.08763) | w_gate in full, kept rows of w_up and columns of w_down |

An oracle's masks are from outside: no program has them before it computes. What a column of w_down
costs depends on the layout: in that of every file, the blocks of that column in all rows; in the
others, one row. A tap sees the kept neurons only: (T, n_kept) for "up" and
"activated".
"""

from __future__ import annotations

import numpy as np

from llama_edu.errors import RequestError, ShapeError
from llama_edu.quants.scaled import ScaledArray
from llama_edu.slimmer.activations import check_dense, gate_size
from llama_edu.slimmer.masks import Choice
from llama_edu.transformer import kernels
from llama_edu.transformer.model import FeedForward, Model
from llama_edu.transformer.tap import Tap


def kept_by_masks(masks: np.ndarray) -> FeedForward:
    """Computes what masks keep. With an oracle's masks this is a bound, not a program.

    Args:
        masks: (n_layers, T, hidden_dim) bool, True: kept; T is the number of positions of each call
            of forward(), and the neurons are in the order of the file.
    Returns:
        For forward(); it raises ShapeError for another number of layers, positions or neurons.
    """

    def ffn(model: Model, layer: int, x: np.ndarray, see: Tap) -> np.ndarray:
        _check_readable(model, layer)
        config = model.config
        expected = (config.n_layers, len(x), config.hidden_dim)
        if masks.shape != expected or masks.dtype != bool:
            raise ShapeError(
                f"kept neurons: masks of {masks.dtype} {masks.shape}, expected bool {expected} for "
                f"{len(x)} positions"
            )
        name = f"layers.{layer}"
        kept = masks[layer]
        rows = np.flatnonzero(kept.any(axis=0))
        h = see("ffn_norm", model.norm(x, f"{name}.ffn_norm"))
        gate = see("gate", model.linear_rows(h, f"{name}.w_gate", rows))
        up = see("up", model.linear_rows(h, f"{name}.w_up", rows))
        neurons = kernels.GATED[config.activation](gate, up)
        activated = np.where(kept[:, rows], neurons, np.float32(0))
        return see(
            "down", model.linear_columns(see("activated", activated), f"{name}.w_down", rows)
        )

    return ffn


def kept_by_gate(choice: Choice) -> FeedForward:
    """Computes w_gate in full and keeps the neurons whose gate is above the layer's threshold.

    Args:
        choice: with way "gate".
    Raises:
        RequestError: a choice of another way, which the gate does not tell.
    """
    thresholds = choice.thresholds
    if choice.way != "gate" or thresholds is None:
        raise RequestError(
            f"kept neurons: a choice by {choice.way!r}, expected one by 'gate'; give masks for the "
            f"others"
        )

    def ffn(model: Model, layer: int, x: np.ndarray, see: Tap) -> np.ndarray:
        _check_readable(model, layer)
        config, name = model.config, f"layers.{layer}"
        h = see("ffn_norm", model.norm(x, f"{name}.ffn_norm"))
        gate = see("gate", model.linear(h, f"{name}.w_gate"))  # (T, hidden_dim)
        kept = ~(gate_size(gate, config.activation) <= thresholds[layer])
        rows = np.flatnonzero(kept.any(axis=0))
        up = see("up", model.linear_rows(h, f"{name}.w_up", rows))
        neurons = kernels.GATED[config.activation](gate[:, rows], up)
        activated = np.where(kept[:, rows], neurons, np.float32(0))
        return see(
            "down", model.linear_columns(see("activated", activated), f"{name}.w_down", rows)
        )

    return ffn


def _check_readable(model: Model, layer: int) -> None:
    """Raise RequestError unless single rows and columns of the layer can be read."""
    check_dense(model.config)
    if isinstance(model.weights[f"layers.{layer}.w_down"], ScaledArray):
        raise RequestError(
            "kept neurons: the file stores its scales behind its numbers, expected them beside "
            "these; convert it to gguf"
        )
