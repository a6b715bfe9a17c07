"""A few positions times stored weights: the kernel of each type reads the blocks in place.

Kernels are C functions of addresses, which compiled tokens call as well, so that each is compiled
once; see kernels.py.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from llama_edu.matmul.jit import kernels
from llama_edu.matmul.jit.int8 import instructions, rounding
from llama_edu.matmul.jit.int8 import kernels as int8_kernels
from llama_edu.matmul.jit.int8.layouts import LAYOUTS
from llama_edu.matmul.jit.machine_code import address_of
from llama_edu.matmul.threads import run_shares, worth
from llama_edu.matmul.workspace import scratch
from llama_edu.quants.blocks import block_type_of

#: Stored types whose kernels multiply float32.
FLOAT_TYPES = ("f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q4_k", "q5_k", "q6_k")

#: With more positions than this, tiles are faster than one pass over the blocks for each.
MOST_POSITIONS = 4

#: Products of single numbers for which a second thread is woken, and that it computes at a time, at
#: least: some 20 microseconds.
FOR_ONE_THREAD, _SMALLEST = 2 * 1024 * 1024, 256 * 1024


class Form(NamedTuple):
    """What a kernel takes x as.

    Attributes:
        name: of the form. function: that makes it of float32; None for float32 itself.
        group: how many rounded numbers share a scale, or 0.
    """

    name: str
    function: Any
    group: int = 0

    @property
    def address(self) -> int:
        """Of the function, compiled now or loaded from disk; 0 for float32 itself."""
        return 0 if self.function is None else address_of(f"x as {self.name}", self.function)

    def n_bytes(self, n: int) -> int:
        """Bytes of n numbers in this form."""
        return rounding.row_bytes(n, self.group) if self.group else 4 * n


class Kernel(NamedTuple):
    """What multiplies by one stored type, in one arithmetic: the address of a C function."""

    address: int
    form: Form


_FLOAT32 = Form("float32", None)
_FORMS = {
    ("f16", "float32"): Form("float32 * 2 ** 56", kernels.halved),
    ("f16", "int8"): Form("f16 * 2 ** 56", int8_kernels.halved_f16),
    ("bf16", "int8"): Form("bf16", kernels.as_bf16),
}
#: By whether x is rounded in blocks of 256, and how many numbers have a sum.
ROUNDED = {
    (False, 32): Form("Q8_1", int8_kernels.to_q8_1, 32),
    (True, 32): Form("Q8_K, sums of 32", int8_kernels.to_q8_k_32, 32),
    (True, 16): Form("Q8_K, sums of 16", int8_kernels.to_q8_k_16, 16),
}
#: All forms, in an order of their own.
FORMS = (_FLOAT32, *_FORMS.values(), *ROUNDED.values())


def kernel_of(w: np.ndarray, arithmetic: str) -> Kernel | None:
    """The kernel for a stored matrix, compiled now or loaded from disk; None if there is none."""
    name = block_type_of(w).name
    if type(w) is not np.ndarray or not has_kernel(name, arithmetic):
        return None  # other classes of weights mean more than their bytes
    if not (w.flags.c_contiguous and w.flags.aligned and w.dtype.isnative):
        return None
    return _kernel(name, arithmetic)


def has_kernel(type_name: str, arithmetic: str) -> bool:
    """Whether there is a kernel for a stored type: in "float32", or in "int8" with rounded x."""
    if type_name in ("f32", "f16", "bf16"):
        return True
    if arithmetic == "int8":
        return type_name in LAYOUTS and instructions.host_instructions() is not None
    return type_name in FLOAT_TYPES


@cache
def _kernel(name: str, arithmetic: str) -> Kernel:
    if arithmetic == "int8" and name in LAYOUTS:
        layout = LAYOUTS[name]
        form, function = ROUNDED[layout.in_256, layout.group], getattr(int8_kernels, name)
    else:
        form = _FORMS.get((name, arithmetic), _FLOAT32)
        function = getattr(kernels, name)
    return Kernel(address_of(f"{name}, {arithmetic}", function), form)


def multiply(x: np.ndarray, w: np.ndarray, kernel: Kernel, threads: int) -> np.ndarray:
    """Multiply every position by a stored matrix, of `kernel`: x @ w.T.

    Args:
        x: (T, in_features) float32. w: (out_features, in_features / block_size), not copied.
    Returns:
        (T, out_features) float32, a new array.
    """
    T, n = x.shape
    out = np.empty((T, len(w)), np.float32)
    form = formed(x, kernel.form)
    n_bytes = form.strides[0]
    function = _callable(kernel.address)
    places = (w.ctypes.data, w.strides[0], form.ctypes.data, n_bytes, T, out.ctypes.data, len(w))

    def some_rows(start: int, stop: int) -> None:
        function(*places, start, stop)

    threads = worth(threads, out.size * n, FOR_ONE_THREAD)
    if threads == 1:
        some_rows(0, len(w))
    else:
        run_shares(some_rows, len(w), threads, max(1, _SMALLEST // (T * n)))
    return out


def formed(x: np.ndarray, form: Form) -> np.ndarray:
    """Turn x into what a kernel takes.

    Args:
        x: (T, n) float32.
    Returns:
        (T, bytes) uint8, valid until this thread asks for the next; or x itself.
    """
    x = np.ascontiguousarray(x)
    T, n = x.shape
    if not form.address:
        return x
    out = scratch("x in another form", (T, form.n_bytes(n)), np.uint8)
    places = (x.ctypes.data, 4 * n, T, out.ctypes.data)
    _callable(form.address)(0, out.shape[1], *places, 0, 0, 0)
    return out


@cache
def _callable(address: int) -> Callable[..., None]:
    """The C function there; the interpreter's lock is free while it runs."""
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 9)(address)
