"""Which kernels multiply: the readable ones in numpy, or the compiled ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Literal, NamedTuple, get_args

import numpy as np

from llama_edu.errors import LlamaEduWarning, RequestError
from llama_edu.matmul.arithmetic import Arithmetic, ArithmeticChoice, rounded_matmul
from llama_edu.matmul.auto import fastest
from llama_edu.matmul.product import Matmul, matmul
from llama_edu.quants.blocks import block_type_of

#: The choices.
Kernels = Literal["auto", "numpy", "jit"]
KERNELS: tuple[str, ...] = get_args(Kernels)


def check_kernels(kernels: str) -> None:
    """Raise RequestError, listing the choices, for any other value."""
    if kernels not in KERNELS:
        raise RequestError(f"kernels is {kernels!r}, expected one of {', '.join(KERNELS)}")


class Chosen(NamedTuple):
    """What multiplies: (x, w, threads) -> the product, and in which arithmetic; never "auto"."""

    matmul: Matmul
    arithmetic: Arithmetic
    is_compiled: bool


def matmul_for(
    kernels: Kernels,
    weights: Iterable[np.ndarray],
    threads: int = 1,
    arithmetic: ArithmeticChoice = "float32",
) -> Matmul:
    """The function of choose() alone, for those who ask for an arithmetic."""
    return choose(kernels, weights, threads, arithmetic).matmul


def choose(
    kernels: Kernels,
    weights: Iterable[np.ndarray],
    threads: int,
    arithmetic: ArithmeticChoice,
    before_compiling: Callable[[], object] = lambda: None,
) -> Chosen:
    """The function that multiplies by these weights.

    With jit, the loops that the weights need are compiled now, or loaded from disk.

    Args:
        kernels: "numpy"; "jit"; or "auto", which takes jit if numba is installed. If numba is
            installed but cannot be used, auto takes numpy, with one LlamaEduWarning per process.
        threads: the largest number of threads.
        arithmetic: what is multiplied; see arithmetic.py. jit has loops for "int8" where the
            processor has instructions for it; elsewhere its float32 loops multiply rounded x.
            "auto" is what auto.py finds to be the fastest with jit, and "float32" with numpy.
        before_compiling: called with jit, once the compiler was imported.
    Raises:
        RequestError: "jit" was requested and cannot be used; the message says why.
    """
    weights = list(weights)
    types = {block_type_of(w).name for w in weights if w.ndim == 2 and w.dtype != np.float32}
    if kernels == "numpy" or (kernels == "auto" and (_refusal or not _numba_is_installed())):
        return _in_numpy(arithmetic)
    try:
        from llama_edu.matmul.jit import product  # imports a compiler: only when wanted

        before_compiling()
        settled = fastest(weights) if arithmetic == "auto" else arithmetic
        chosen = rounded_matmul(product.matmul, settled)
        compiled = types & {*product.TYPES}
        if settled == "int8":
            from llama_edu.matmul.jit.int8 import product as int8_product

            chosen = int8_product.int8_matmul(chosen)
            compiled |= types & {*int8_product.TYPES}
        product.check(compiled, threads, chosen)
    except RequestError as error:
        if kernels == "jit":
            raise
        _refusal.append(str(error))
        warnings.warn(f"{error}. Going on with numpy.", LlamaEduWarning, stacklevel=2)
        return _in_numpy(arithmetic)
    return Chosen(chosen, settled, True)


def _in_numpy(arithmetic: ArithmeticChoice) -> Chosen:
    settled: Arithmetic = "float32" if arithmetic == "auto" else arithmetic
    return Chosen(rounded_matmul(matmul, settled), settled, False)


#: Why numba cannot be used in this process, once that is known.
_refusal: list[str] = []


def _numba_is_installed() -> bool:
    return find_spec("numba") is not None
