"""A model as tables of numbers.

They hold addresses of weights, not the weights: who uses them keeps the file open.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from llama_edu.matmul.jit.few import FORMS, kernel_of
from llama_edu.matmul.jit.token import places as at
from llama_edu.quants.blocks import block_type_of


class Tables(NamedTuple):
    """A model for compiled code.

    Attributes:
        sizes: (N_SIZES,) int64. matrices: (n, N_COLUMNS) int64. norms: (n,) int64 addresses.
        keep: what the addresses need and no file holds.
    """

    sizes: np.ndarray
    matrices: np.ndarray
    norms: np.ndarray
    keep: tuple[Any, ...]


def matrix_row(w: np.ndarray, arithmetic: str) -> list[int] | None:
    """A stored matrix as a row of `Tables.matrices`; None if there is no kernel for it.

    Compiles the kernel, or loads it from disk. Reads none of the weights.
    """
    kernel = kernel_of(w, arithmetic)
    if kernel is None:
        return None
    n = w.shape[1] * block_type_of(w).block_size
    return [
        w.ctypes.data, w.strides[0], n, len(w), kernel.address,
        FORMS.index(kernel.form), kernel.form.address, kernel.form.n_bytes(n),
    ]  # fmt: skip


assert len(FORMS) == at.N_KINDS
