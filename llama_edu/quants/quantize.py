"""From float32 to the stored number types, rounded as the original tools rounded at the time.

Scales and codes are computed in float32 exactly as by the C routines of ggml.c, so the blocks are
equal to theirs byte for byte. Two details matter in the types of spring 2023, which are here: the
reciprocal is taken of the scale before it is rounded to float16, and codes are rounded half away
from zero (or truncated after adding a half), never half to even as numpy rounds. The K-quants are
in quantize_k.py, the ternary types in quantize_ternary.py.

A chunk of the tensor is processed transposed: row i holds element i of every block. Every step is
then one long run over adjacent memory, for any block size.
Source: quantize_row_*_reference in ggml.c of llama.cpp: PR #613 and before; #729, which represents
the number of largest magnitude exactly; #1405, which truncates codes instead of rounding them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from llama_edu.errors import FormatError, RequestError, ShapeError
from llama_edu.quants.blocks import BLOCK_TYPES, block_type_of
from llama_edu.quants.c_rounding import (
    cut_off,
    largest_magnitude,
    of_largest_magnitude,
    reciprocal,
    rounded_away,
)
from llama_edu.quants.legacy_quants import has_field, store_codes
from llama_edu.quants.quantize_k import K_CONVERTERS, TOO_LARGE
from llama_edu.quants.quantize_ternary import to_tq1_0, to_tq2_0

#: float32 numbers quantized at a time; with the temporary arrays this stays in a core's own cache.
_CHUNK_NUMBERS = 32 * 1024

#: Halfway between the largest float16, 65504, and what would be the next number.
_ROUNDS_TO_INFINITY = 65520

#: A set of rounding rules, named after the pull request of llama.cpp that introduced it.
Rules = Literal["#613", "#729"]

#: The types that had more than one set of rules, the default first.
RULES: dict[str, tuple[Rules, ...]] = {"q4_0_v1": ("#613", "#729")}


def quantize(
    x: np.ndarray, type_name: str, rules: Rules | None = None, where: str = "array"
) -> np.ndarray:
    """Numbers as the blocks in which the original tools would have stored them.

    K-quants are those of llama.cpp since August 2023, without an importance matrix.

    Args:
        x: (..., n) float32, n a multiple of the block size.
        type_name: f32 f16 bf16, any version of q4_0 q4_1 q4_2 q4_3 q5_0 q5_1 q8_0, q2_k to q6_k,
            tq1_0 or tq2_0.
        rules: one of `RULES[type_name]`, for a type that had several; None means the first.
        where: the name of the numbers in messages, for example "layers.3.wq".
    Returns:
        (..., n / block_size) of the type's dtype; a copy, for f32 as well.
    Raises:
        RequestError: there is no quantizer for the type, or it never had such rules.
        ShapeError: x is not float32 or its rows are not whole blocks.
        FormatError: a number is NaN or infinite and the type is a block type, or a finite number,
            scale or minimum is too large for the float16 it is to be stored in.
    """
    convert = _converter(type_name, rules, where)
    block = BLOCK_TYPES[type_name]
    if x.dtype != np.float32 or x.ndim == 0 or x.shape[-1] % block.block_size:
        raise ShapeError(
            f"{where}: {x.dtype} of shape {x.shape}, expected float32 and rows of a multiple of "
            f"{block.block_size} numbers, the block size of {type_name}"
        )
    out = np.empty((*x.shape[:-1], x.shape[-1] // block.block_size), block.dtype)
    blocks = out.reshape(-1)
    numbers = x.reshape(len(blocks), block.block_size)  # a view where x is contiguous
    step = _CHUNK_NUMBERS // block.block_size
    # infinities and NaNs are looked for in the scales where they reach them, which costs less
    with np.errstate(all="ignore"):
        for start in range(0, len(blocks), step):
            chunk, stored = numbers[start : start + step], blocks[start : start + step]
            convert(np.ascontiguousarray(chunk.T), stored)
            _check(chunk, stored, start * block.block_size, f"{where}: as {type_name}")
    return out


def _converter(type_name: str, rules: Rules | None, where: str) -> Converter:
    convert = _CONVERTERS.get(type_name)
    if convert is None:
        raise RequestError(
            f"{where}: cannot be written as {type_name!r}, expected one of {', '.join(_CONVERTERS)}"
        )
    allowed = RULES.get(type_name, ())
    if rules is not None and rules not in allowed:
        raise RequestError(
            f"{where}: no rules {rules!r} for {type_name}, expected "
            f"{' or '.join(allowed) if allowed else 'none: it has only one set'}"
        )
    return _LATER_RULES.get((type_name, rules), convert)


def _to_f32(x: np.ndarray, stored: np.ndarray) -> None:
    stored[:] = x[0]


def _to_f16(x: np.ndarray, stored: np.ndarray) -> None:
    stored[:] = x[0]


def _to_bf16(x: np.ndarray, stored: np.ndarray) -> None:
    """Round to the nearest upper half, ties to even; a NaN stays a NaN and becomes quiet."""
    bits = x[0].view(np.uint32)
    rounded = bits + (0x7FFF + (bits >> 16 & 1)) >> 16
    stored["bf16"] = np.where(np.isnan(x[0]), bits >> 16 | 0x40, rounded)


def _to_centered(x: np.ndarray, stored: np.ndarray, *, rounded: bool = False) -> None:
    """q4_0 q4_2 q5_0: the number of largest magnitude gets the code 0, exactly."""
    half = 16 if has_field(stored, "fifth_bits") else 8
    stored["scale"] = scale = of_largest_magnitude(x) / np.float32(-half)
    scaled = x * reciprocal(scale)
    codes = rounded_away(scaled) + half if rounded else cut_off(scaled + np.float32(half + 0.5))
    codes -= codes == 2 * half  # the only code out of range, too high by half a step or less
    store_codes(codes.view(np.uint8), stored)


def _to_q4_0_of_march(x: np.ndarray, stored: np.ndarray) -> None:
    """q4_0 before #729: the number of largest magnitude gets the code 1 or 15; 0 is not used."""
    stored["scale"] = scale = largest_magnitude(x) / np.float32(7)
    codes = rounded_away(x * reciprocal(scale)) + 8
    store_codes(codes.view(np.uint8), stored)


def _to_above_minimum(x: np.ndarray, stored: np.ndarray, *, rounded: bool = False) -> None:
    """q4_1 q4_3 q5_1: the smallest number gets the code 0, the largest the highest code."""
    highest = 31 if has_field(stored, "fifth_bits") else 15
    stored["minimum"] = minimum = _first_minimum(x)
    # Which of 0.0 and -0.0 is the maximum depends on the processor. C subtracts the first zero from
    # itself, which gives 0.0: adding zero gives the same here.
    stored["scale"] = scale = (x.max(axis=0) - minimum) / np.float32(highest) + np.float32(0)
    scaled = (x - minimum) * reciprocal(scale)
    codes = rounded_away(scaled) if rounded else cut_off(scaled + np.float32(0.5))
    store_codes(codes.view(np.uint8), stored)


def _to_bytes(x: np.ndarray, stored: np.ndarray) -> None:
    """q8_0: the number of largest magnitude gets the code -127 or 127."""
    stored["scale"] = scale = largest_magnitude(x) / np.float32(127)
    stored["bytes"] = rounded_away(x * reciprocal(scale)).T


#: Fills (n,) blocks of the type from their numbers, (block_size, n) float32.
Converter = Callable[[np.ndarray, np.ndarray], None]

_CONVERTERS: dict[str, Converter] = {
    "f32": _to_f32,
    "f16": _to_f16,
    "bf16": _to_bf16,
    "q4_0": _to_centered,
    "q4_1": _to_above_minimum,
    "q5_0": _to_centered,
    "q5_1": _to_above_minimum,
    "q8_0": _to_bytes,
    "q4_0_v2": _to_centered,
    "q4_1_v2": _to_above_minimum,
    "q8_0_v2": _to_bytes,
    "q4_0_v1": _to_q4_0_of_march,
    "q4_1_v1": partial(_to_above_minimum, rounded=True),
    "q4_2": _to_centered,
    "q4_3": _to_above_minimum,
    "q5_0_v1": _to_centered,
    "q5_1_v1": _to_above_minimum,
    **K_CONVERTERS,
    "tq1_0": to_tq1_0,
    "tq2_0": to_tq2_0,
}
_LATER_RULES: dict[tuple[str, Rules | None], Converter] = {
    ("q4_0_v1", "#729"): partial(_to_centered, rounded=True)
}


def _first_minimum(x: np.ndarray) -> np.ndarray:
    """The smallest number of every block; of 0.0 and -0.0, which are equal, the first one."""
    lowest: np.ndarray = x.min(axis=0)
    (zeros,) = np.nonzero(lowest == 0)
    if zeros.size:
        lowest[zeros] = x[(x[:, zeros] == 0).argmax(axis=0), zeros]
    return lowest


def _check(numbers: np.ndarray, stored: np.ndarray, first: int, where: str) -> None:
    """Raise FormatError if a number was not finite or its scale has become infinite.

    Args:
        numbers: (n, block_size) float32.
        stored: (n,) blocks made from them.
        first: index in the tensor of the first number.
        where: the tensor and the type, for the message.
    """
    if stored.dtype == np.float16:
        lost = (np.abs(numbers[:, 0]) >= _ROUNDS_TO_INFINITY) & np.isfinite(numbers[:, 0])
    elif has_field(stored, "scale"):
        lost = ~np.isfinite(stored["scale"])
        if has_field(stored, "minimum"):
            lost |= ~np.isfinite(stored["minimum"])
        if block_type_of(stored).name in K_CONVERTERS:  # a search ignores what is not finite
            lost |= ~(np.abs(numbers).max(axis=1) < TOO_LARGE)
    else:
        return
    if not lost.any():
        return
    block = int(np.argmax(lost))
    # a NaN counts as larger than anything here
    within = int(np.argmax(np.abs(numbers[block])))
    value, index = numbers[block, within], first + block * numbers.shape[1] + within
    if np.isfinite(value):
        raise FormatError(
            f"{where}: number {index:,} is {value:g}, too large for the float16 or float32 that "
            f"this type stores (float16 ends at 65,504); convert to f32 or bf16"
        )
    raise FormatError(
        f"{where}: number {index:,} is {value:g}, expected a finite number; the weights are damaged"
    )
