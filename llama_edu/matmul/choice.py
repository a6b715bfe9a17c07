"""Which kernels multiply: the clear ones in numpy, or the compiled ones."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Literal, get_args

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.matmul.product import Matmul, matmul

#: What may be asked for.
Kernels = Literal["auto", "numpy", "jit"]
KERNELS: tuple[str, ...] = get_args(Kernels)


def check_kernels(kernels: str) -> None:
    """Raise RequestError, listing the choices, for any other word."""
    if kernels not in KERNELS:
        raise RequestError(f"kernels is {kernels!r}, expected one of {', '.join(KERNELS)}")


def matmul_for(kernels: Kernels, weights: Iterable[np.ndarray]) -> Matmul:
    """The function that multiplies by these weights.

    Args:
        kernels: "numpy"; "jit", which raises RequestError where numba is missing; or "auto", which
            takes jit where numba is installed and some matrix is not float32 (BLAS is best for
            those).
    """
    if kernels == "numpy" or (kernels == "auto" and not _jit_helps(weights)):
        return matmul
    from llama_edu.matmul.jit import product  # imports a compiler: only when wanted

    return product.matmul


def _jit_helps(weights: Iterable[np.ndarray]) -> bool:
    stored = any(w.ndim == 2 and w.dtype != np.float32 for w in weights)
    return stored and find_spec("numba") is not None
