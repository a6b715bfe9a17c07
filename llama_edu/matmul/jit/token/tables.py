"""A model as tables of numbers, and the kernel of each of its matrices.

Tables hold addresses of weights, not the weights: who uses them keeps the file open.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from llama_edu.matmul.jit import kernels, product
from llama_edu.matmul.jit.int8 import instructions, rounding
from llama_edu.matmul.jit.int8 import kernels as int8_kernels
from llama_edu.matmul.jit.int8 import product as int8_product
from llama_edu.matmul.jit.machine_code import address_of
from llama_edu.matmul.jit.token import places as at
from llama_edu.quants.blocks import block_type_of


class Tables(NamedTuple):
    """A model for compiled code.

    Attributes:
        sizes: (N_SIZES,) int64. matrices: (n, N_COLUMNS) int64. norms: (n,) int64 addresses.
        eps: float32. keep: what the addresses need and no file holds.
    """

    sizes: np.ndarray
    matrices: np.ndarray
    norms: np.ndarray
    eps: np.float32
    keep: tuple[Any, ...]


class _Form(NamedTuple):
    kind: int
    function: Any
    group: int = 0


_PLAIN = _Form(at.PLAIN, None)
_FORMS = {
    "float32": {"f16": _Form(at.HALVED, kernels.halved)},
    "int8": {
        "f16": _Form(at.HALVED_F16, int8_kernels.halved_f16),
        "bf16": _Form(at.BF16, kernels.as_bf16),
    },
}
_ROUNDED = {
    (False, 32): _Form(at.Q8_1, int8_kernels.to_q8_1, 32),
    (True, 32): _Form(at.Q8_K_32, int8_kernels.to_q8_k_32, 32),
    (True, 16): _Form(at.Q8_K_16, int8_kernels.to_q8_k_16, 16),
}


def matrix_row(w: np.ndarray, arithmetic: str) -> list[int] | None:
    """A stored matrix as a row of `Tables.matrices`; None if there is no kernel for it.

    Compiles the kernel, or loads it from disk. Reads none of the weights.
    """
    block = block_type_of(w)
    name = block.name
    if not (w.flags.c_contiguous and w.flags.aligned and w.dtype.isnative):
        return None
    n = w.shape[1] * block.block_size
    is_float = name in ("f32", "f16", "bf16")
    if arithmetic == "int8" and not is_float:
        layout = int8_product.LAYOUTS.get(name)
        if layout is None or instructions.host_instructions() is None:
            return None
        form = _ROUNDED[layout.in_256, layout.group]
        n_bytes = rounding.row_bytes(n, layout.group)
        kernel = getattr(int8_kernels, name)
    else:
        if not is_float and name not in product.TYPES:
            return None
        form = _FORMS[arithmetic].get(name, _PLAIN)
        n_bytes, kernel = 4 * n, getattr(kernels, name)
    what = f"{name}, {arithmetic}"
    form_address = address_of(f"x for {what}", form.function) if form.function else 0
    return [
        w.ctypes.data, w.strides[0], n, len(w), address_of(what, kernel),
        form.kind, form_address, n_bytes,
    ]  # fmt: skip
