"""Norm, gate and attention as forward() calls them: of kernels.py, or compiled for prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from llama_edu.matmul.product import Matmul, SharedInput
from llama_edu.transformer import kernels
from llama_edu.transformer.attention import attend
from llama_edu.transformer.tap import Tap

#: (gate, up) -> activated, all (..., hidden_dim) float32.
Gate = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Functions:
    """What a model computes with besides its products.

    Attributes:
        rms_norm: as kernels.rms_norm. gated: activation -> function, as kernels.GATED.
        attend: as attention.attend.
    """

    rms_norm: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    gated: Mapping[str, Gate]
    attend: Callable[[np.ndarray, np.ndarray, np.ndarray, int, Tap], np.ndarray]


#: The definition.
NUMPY = Functions(kernels.rms_norm, kernels.GATED, attend)


def functions_for(multiply: Matmul) -> Functions:
    """Compiled functions beside compiled products, where the processor has what they need."""
    if not isinstance(multiply, SharedInput):
        return NUMPY
    # imports a compiler: only when wanted
    from llama_edu.matmul.jit.panels import host
    from llama_edu.transformer.jit import prompts

    if not host.host()[0]:
        return NUMPY
    gated = {**kernels.GATED, "silu": prompts.swiglu}
    return Functions(prompts.rms_norm, gated, prompts.attend)
