"""Weights set to zero one by one: by their size, or by what they do (Wanda).

A zero is stored like any other number, so no page is saved.
Source: Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (Wanda),
arXiv 2306.11695: |w| times the norm of the input that it multiplies, compared within a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from llama_edu.quants.blocks import dequantize
from llama_edu.slimmer.ways.float32 import matrices
from llama_edu.slimmer.ways.matrix_inputs import input_of
from llama_edu.slimmer.ways.shares import check_dense, check_share
from llama_edu.transformer.model import Model


def by_size(w: np.ndarray, share: float) -> np.ndarray:
    """A copy of a matrix whose smallest numbers are zero: `share` of them, rounded down."""
    out = w.copy()
    n = int(check_share(share, "pruning") * w.size)
    out.reshape(-1)[np.argpartition(np.abs(w), n - 1, axis=None)[:n] if n else []] = 0
    return out


def by_wanda(w: np.ndarray, norms: np.ndarray, share: float) -> np.ndarray:
    """A copy in which every row lost the numbers of smallest |w| * norm: `share` of each row.

    Args:
        w: (out_features, in_features) float32. norms: (in_features,), of the inputs.
    """
    out = w.copy()
    n = int(check_share(share, "pruning") * w.shape[1])
    if n:
        chosen = np.argpartition(np.abs(w) * norms.astype(np.float32), n - 1, axis=1)[:, :n]
        np.put_along_axis(out, chosen, 0, axis=1)
    return out


def pruned(model: Model, share: float, norms: Mapping[str, np.ndarray] | None = None) -> Model:
    """The model with that share of every layer's matrices zeroed, in float32.

    Args:
        norms: of matrix_inputs.inputs_on: prune by Wanda; None: by size.
    Raises:
        RequestError: a share outside 0 to 1, or a model with experts.
    """
    check_dense(model.config, "pruning")
    check_share(share, "pruning")
    weights = dict(model.weights)
    for name in matrices(model):
        w = dequantize(weights[name])
        weights[name] = by_size(w, share) if norms is None else by_wanda(w, norms[input_of(name)],
                                                                         share)  # fmt: skip
    return replace(model, weights=weights)
