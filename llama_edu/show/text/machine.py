"""What this machine has for the products of a model, as lines of text."""

from __future__ import annotations

import platform
from importlib.util import find_spec

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.matmul.blas import can_control_blas
from llama_edu.matmul.cores import cores
from llama_edu.text import one_line


def machine_report() -> str:
    """The processor, numpy, numba, and the instructions for products of 8-bit numbers.

    Imports numba if it is installed; compiles nothing.
    """
    controlled = "can be set" if can_control_blas() else "cannot be set"
    jit, int8, fast = _compiled()
    return "\n".join(
        (
            f"  processor   {one_line(platform.machine())}, {cores()}",
            f"  numpy       {np.__version__}; the threads of its BLAS {controlled}",
            f"  jit         {jit}",
            f"  int8        {int8}",
            f"  default     {_default(fast)}",
        )
    )


def _default(fast: tuple[str, ...]) -> str:
    """What arithmetic="auto" becomes, which is what load(), generate and chat take."""
    if not fast:
        return "float32 arithmetic for all files"
    return (
        f"int8 arithmetic for files that are mostly {' '.join(fast)}, unless kernels are numpy; "
        f"float32 for others"
    )


def _compiled() -> tuple[str, str, tuple[str, ...]]:
    """Whether kernels="jit" can be used, what arithmetic="int8" is with it, and for which types.

    These are the types for which arithmetic="auto" takes it.
    """
    rounding = "numpy rounds activations and multiplies in float32"
    if find_spec("numba") is None:
        return "numba is not installed; run: pip install numba", rounding, ()
    try:
        from llama_edu.matmul.auto import faster_with_int8
        from llama_edu.matmul.jit.int8 import instructions, product
    except RequestError as error:
        return one_line(str(error)), rounding, ()
    import numba

    has = instructions.host_instructions()
    if has is None:
        known = ", ".join(instructions.KNOWN)
        int8 = f"none of {known} on this processor: jit rounds and multiplies in float32"
    else:
        int8 = f"{has}: jit multiplies integers for {' '.join(product.TYPES)}"
    return f"numba {numba.__version__}", int8, tuple(sorted(faster_with_int8()))
