"""Matrices of the feed-forward block as the product of two thin ones.

The best approximation of a rank keeps the largest singular values (Eckart and Young, 1936): w is
replaced by U (S V.T), the first singular vectors on both sides. Two thin matrices need fewer
bytes than w only where the rank is below out * in / (out + in).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.matmul.blas import blas_threads
from llama_edu.quants.blocks import BLOCK_TYPES, block_type_of, dequantize
from llama_edu.quants.quantize import quantize
from llama_edu.slimmer.ways.shares import check_dense, check_share
from llama_edu.transformer import kernels
from llama_edu.transformer.model import Model
from llama_edu.transformer.tap import Tap, untouched

MATRICES = ("w_gate", "w_up", "w_down")


def rank_for(share: float, shape: tuple[int, int], multiple_of: int = 1) -> int:
    """The largest rank, a multiple of `multiple_of`, whose factors have that share of the numbers.

    Raises RequestError where there is none, as for a share of 0.
    """
    out_features, in_features = shape
    most = check_share(share, "low rank") * out_features * in_features
    rank = int(most / (out_features + in_features)) // multiple_of * multiple_of
    if rank == 0:
        raise RequestError(
            f"low rank: {share:g} of the numbers of a {out_features} x {in_features} matrix, "
            f"expected enough for two factors of rank {multiple_of}; give a larger share"
        )
    return rank


def right_singular_vectors(w: np.ndarray) -> np.ndarray:
    """(in_features, min(out, in)) float64 of a float32 matrix, the largest singular value first.

    From the eigenvectors of the smaller of w.T w and w w.T, which is faster than an SVD.
    """
    w = w.astype(np.float64)
    if w.shape[0] >= w.shape[1]:
        return np.linalg.eigh(w.T @ w)[1][:, ::-1]
    values, left = np.linalg.eigh(w @ w.T)
    return w.T @ left[:, ::-1] / np.sqrt(np.maximum(values[::-1], 1e-30))


def factors(w: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Two thin matrices with left @ right close to w: (out, rank) and (rank, in), float32.

    The singular values are in the rows of the right one. In the columns of the left one, blocks
    that are quantized together would hold numbers of very different sizes.
    """
    v = right_singular_vectors(w)[:, :rank]
    left = w @ v
    values = np.maximum(np.linalg.norm(left, axis=0), 1e-30)
    return (left / values).astype(np.float32), np.ascontiguousarray((v * values).T, np.float32)


def low_rank(model: Model, share: float) -> tuple[Model, int]:
    """A model whose feed-forward matrices are factors in the types of the matrices.

    Their names are "layers.3.w_gate.left" and ".right"; low_rank_feed_forward computes with them.

    Args:
        share: of the bytes of these matrices, at most.
    Returns:
        the model, and the smallest rank.
    Raises:
        RequestError: a share that leaves no rank, a model with experts, or a type that cannot be
            written.
    """
    check_dense(model.config, "low rank")
    weights: dict[str, np.ndarray] = {}
    ranks = []
    for name, w in model.weights.items():
        if not name.startswith("layers.") or name.rpartition(".")[2] not in MATRICES:
            weights[name] = w
            continue
        block = block_type_of(w)
        numbers = dequantize(w)
        rank = rank_for(share, numbers.shape, BLOCK_TYPES[block.name].block_size)
        with blas_threads(model.blas_threads):
            thin = factors(numbers, rank)
        for side, factor in zip(("left", "right"), thin, strict=True):
            weights[f"{name}.{side}"] = quantize(factor, block.name, where=f"{name}.{side}")
        ranks.append(rank)
    return replace(model, weights=weights), min(ranks)


def low_rank_feed_forward(
    model: Model, layer: int, x: np.ndarray, see: Tap = untouched
) -> np.ndarray:
    """The feed-forward block with two thin matrices in the place of each: (T, dim) to (T, dim)."""
    name = f"layers.{layer}"
    gated = kernels.reglu if model.config.activation == "relu" else kernels.swiglu

    def product(h: np.ndarray, kind: str) -> np.ndarray:
        thin = model.linear(h, f"{name}.{kind}.right")
        return model.linear(thin, f"{name}.{kind}.left")

    h = see("ffn_norm", model.norm(x, f"{name}.ffn_norm"))
    gate, up = see("gate", product(h, "w_gate")), see("up", product(h, "w_up"))
    return see("down", product(see("activated", gated(gate, up)), "w_down"))
