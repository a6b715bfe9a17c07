"""Activations rounded before each product, as llama.cpp rounds them: a suspect when texts differ.

llama.cpp multiplies integers. Where weights are stored in 4 or 8 bits, it first rounds the numbers
they are multiplied by: in March 2023 to 4 bits, since April 2023 to 8 bits. The product itself is
then exact, up to the order of its sums. So rounding x and multiplying as usual gives its numbers:

| stored weights | x becomes | one scale for | rule |
|---|---|---|---|
| q4_0 q5_0 q8_0 iq4_nl mxfp4 | Q8_0 | 32 numbers | float16 scale: the largest / 127 |
| q4_1 q5_1 | Q8_1 | 32 numbers | the same, and float16 sums for the minimums |
| K-quants, iq4_xs, tq1_0, tq2_0 | Q8_K | 256 numbers | float32 scale |
| f16, bf16 | the same type | 1 number | |

jit/int8/ multiplies integers as llama.cpp does, for the types that it has loops for, and
jit/panels/ bfloat16 for many positions; this module is their definition. Where they are faster,
they are what load() computes unless told otherwise (auto.py). Rounding to bfloat16 changes a number
by up to 2^-9 of it, and the logits of a real model by up to 9e-3 of the largest (docs/steps.md).

Source: `vec_dot_type` in ggml-cpu.c of llama.cpp, and quantize_row_q8_0, _q8_1 and _q8_K in its
quants.c for x86; for 4 bits, ggml.c at PR #613.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, get_args

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.matmul.product import Matmul
from llama_edu.quants.blocks import block_type_of, dequantize

#: "float32" rounds nothing; "int8" is llama.cpp since April 2023, "int4" at the time of #613.
Arithmetic = Literal["float32", "int8", "int4"]
ARITHMETIC: tuple[str, ...] = get_args(Arithmetic)

#: What load() takes: "auto" becomes one of the others where the kernels are chosen; see auto.py.
ArithmeticChoice = Literal["auto", "float32", "int8", "int4"]
ARITHMETIC_CHOICES: tuple[str, ...] = get_args(ArithmeticChoice)


def rounded_matmul(multiply: Matmul, arithmetic: Arithmetic) -> Matmul:
    """A product that rounds x first, as the weights' stored type demands, then calls `multiply`."""
    if arithmetic == "float32":
        return multiply
    rounders = _INT8 if arithmetic == "int8" else _INT4

    def rounded(x: np.ndarray, w: np.ndarray, threads: int = 1) -> np.ndarray:
        name = _type_name(w)
        out = multiply(rounders[name](x), w, threads)
        if arithmetic == "int8" and name in ("q4_1", "q5_1"):
            out += _sums_left(x) @ _minimums(w).T
        return out

    return rounded


def check_arithmetic(arithmetic: str, weights: Iterable[np.ndarray]) -> None:
    """Raise RequestError unless the arithmetic is a choice, and known for all of these weights."""
    if arithmetic not in ARITHMETIC_CHOICES:
        expected = ", ".join(ARITHMETIC_CHOICES)
        raise RequestError(f"arithmetic is {arithmetic!r}, expected one of {expected}")
    if arithmetic in ("auto", "float32"):
        return
    rounders = _INT8 if arithmetic == "int8" else _INT4
    unknown = {_type_name(w) for w in weights if w.ndim == 2} - set(rounders)
    if unknown:
        raise RequestError(
            f"arithmetic {arithmetic!r}: not defined for weights of type "
            f"{', '.join(sorted(unknown))}, expected {', '.join(rounders)}; use float32"
        )


def _type_name(w: np.ndarray) -> str:
    """The stored type without the version of its layout, which does not matter here."""
    return block_type_of(w).name.removesuffix("_v1").removesuffix("_v2")


#: Below this, 127 / x is more than a float32 can hold; such numbers count as zero, as in llama.cpp.
_SMALLEST = np.float32(127) / np.finfo(np.float32).max


def _blocks(x: np.ndarray, size: int) -> np.ndarray:
    return x.reshape(*x.shape[:-1], -1, size)


def _q8(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and exact scales of blocks of 32: float32 (..., n / 32, 32) and (..., n / 32, 1)."""
    blocks = _blocks(x, 32)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        factor = np.where(largest >= _SMALLEST, np.float32(127) / largest, 0)
        codes = np.rint(blocks * factor)
    return codes, largest / np.float32(127)


def _to_q8_0(x: np.ndarray) -> np.ndarray:
    """Codes of 8 bits times float16 scales: 19 bits, which float32 holds exactly."""
    codes, scales = _q8(x)
    with np.errstate(over="ignore"):  # as in llama.cpp, a huge scale becomes infinite
        return (codes * _as_f16(scales)).reshape(x.shape)


def _to_q8_k(x: np.ndarray) -> np.ndarray:
    """Codes of 8 bits times float32 scales, 256 numbers each."""
    blocks = _blocks(x, 256)
    largest = np.abs(blocks).max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        factor = np.where(largest >= _SMALLEST, np.float32(127) / largest, 0)
        scales = np.where(largest >= _SMALLEST, 1 / factor, 0)
    return (np.rint(blocks * factor) * scales).reshape(x.shape)


def _sums_left(x: np.ndarray) -> np.ndarray:
    """By how much the sums that Q8_1 stores differ from the sums of its rounded numbers.

    Returns:
        (T, n / 32) float32.
    """
    codes, scales = _q8(x)
    sums = codes.sum(axis=-1)
    return _as_f16(scales[..., 0] * sums) - _as_f16(scales[..., 0]) * sums


def _minimums(w: np.ndarray) -> np.ndarray:
    """(out_features, n_blocks) float32: what each block of q4_1 or q5_1 adds to its numbers."""
    return w["minimum"].astype(np.float32)


def _as_f16(x: np.ndarray) -> np.ndarray:
    """Rounded to float16, as float32."""
    return x.astype(np.float16).astype(np.float32)


def _through(type_name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Rounded as weights of this type would be stored."""

    def rounded(x: np.ndarray) -> np.ndarray:
        from llama_edu.quants.quantize import quantize  # only this arithmetic needs it

        return dequantize(quantize(x, type_name, where="activations"))

    return rounded


def _unrounded(x: np.ndarray) -> np.ndarray:
    return x


_PLAIN = {"f32": _unrounded, "f16": _as_f16, "bf16": _through("bf16")}
_INT8: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **_PLAIN,
    **dict.fromkeys(("q4_0", "q4_1", "q4_2", "q5_0", "q5_1", "q8_0", "iq4_nl", "mxfp4"), _to_q8_0),
    **dict.fromkeys(("q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_xs", "tq1_0", "tq2_0"), _to_q8_k),
}
#: At the time of #613 only q4_0 and q4_1 existed; x was rounded to the type of the weights.
_INT4: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **_PLAIN,
    "q4_0": _through("q4_0_v1"),
    "q4_1": _through("q4_1_v1"),
}
