"""The same numbers as float32 in memory, which BLAS multiplies in place: for many passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llama_edu.matmul.product import blas_can_read, matmul
from llama_edu.matmul.threads import FEW_POSITIONS, run_shares
from llama_edu.matmul.tiles import SMALLEST_ROWS
from llama_edu.quants.blocks import dequantize
from llama_edu.transformer.model import Model


def in_float32(model: Model) -> Model:
    """A model whose weights are float32 copies; what it computes differs by rounding alone."""
    weights = {
        name: w if w.dtype == np.float32 and w.flags.c_contiguous else dequantize(w)
        for name, w in model.weights.items()
    }
    return replace(model, weights=weights, matmul=rows_shared, blas_threads=1)


def rows_shared(x: np.ndarray, w: np.ndarray, threads: int) -> np.ndarray:
    """X @ w.T like matmul(), whose float32 rows our own threads share instead of those of BLAS.

    BLAS's threads wait for each other by spinning, which on a busy machine takes 20 times longer.
    """
    if threads == 1 or len(x) < FEW_POSITIONS or not blas_can_read(w):
        return matmul(x, w, threads)
    out = np.empty((len(x), len(w)), np.float32)

    def some_rows(start: int, stop: int) -> None:
        out[:, start:stop] = x @ w[start:stop].T

    run_shares(some_rows, len(w), threads, SMALLEST_ROWS)
    return out


def matrices(model: Model) -> list[str]:
    """The names of the matrices of all layers."""
    return [n for n, w in model.weights.items() if n.startswith("layers.") and w.ndim == 2]
