"""Which kernels multiply: the clear ones in numpy, or the compiled ones."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.transformer.model import Model

#: What may be asked for.
KERNELS = ("auto", "numpy", "jit")


def check_kernels(kernels: str) -> None:
    """Raise RequestError, listing the choices, for any other word."""
    if kernels not in KERNELS:
        raise RequestError(f"kernels is {kernels!r}, expected one of {', '.join(KERNELS)}")


def with_kernels(model: Model, kernels: str) -> Model:
    """The same model with other kernels.

    Args:
        kernels: "numpy"; "jit", which raises RequestError where numba is missing; or "auto", which
            takes jit where numba is installed and some matrix is not float32 (BLAS is best for
            those).
    """
    if kernels == "numpy" or (kernels == "auto" and not _jit_helps(model)):
        return model
    from llama_edu.transformer import matmul_jit  # imports a compiler: only when wanted

    return replace(model, matmul=matmul_jit.matmul)


def _jit_helps(model: Model) -> bool:
    stored = any(w.ndim == 2 and w.dtype != np.float32 for w in model.weights.values())
    return stored and find_spec("numba") is not None
