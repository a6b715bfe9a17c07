"""The same numbers as float32 in memory, which BLAS multiplies in place: for many passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from llama_edu.matmul.product import matmul
from llama_edu.quants.blocks import dequantize
from llama_edu.transformer.model import Model


def in_float32(model: Model) -> Model:
    """A model whose weights are float32 copies; what it computes differs by rounding alone."""
    weights = {
        name: w if w.dtype == np.float32 and w.flags.c_contiguous else dequantize(w)
        for name, w in model.weights.items()
    }
    return replace(model, weights=weights, matmul=matmul, blas_threads=1)


def matrices(model: Model) -> list[str]:
    """The names of the matrices of all layers."""
    return [n for n, w in model.weights.items() if n.startswith("layers.") and w.ndim == 2]
