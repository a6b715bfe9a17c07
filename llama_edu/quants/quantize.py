"""From float32 to the stored number types, rounded as the original tools rounded at the time.

Scales and codes are computed in float32 exactly as by the C routines of ggml.c, so the blocks are
equal to theirs byte for byte. Two details matter: the reciprocal is taken of the scale before it is
rounded to float16, and codes are rounded half away from zero (or truncated after adding a half),
never half to even as numpy rounds.

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
from llama_edu.quants.blocks import BLOCK_TYPES
from llama_edu.quants.legacy_quants import has_field, store_codes

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

    Args:
        x: (..., n) float32, n a multiple of the block size.
        type_name: f32 f16 bf16, or any version of q4_0 q4_1 q4_2 q4_3 q5_0 q5_1 q8_0.
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
    # infinities and NaNs are looked for in the scales, which is cheaper than checking every number
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
    stored["scale"] = scale = _of_largest_magnitude(x) / np.float32(-half)
    scaled = x * _reciprocal(scale)
    codes = _rounded(scaled) + half if rounded else _cut_off(scaled + np.float32(half + 0.5))
    codes -= codes == 2 * half  # the only code out of range, too high by half a step or less
    store_codes(codes.view(np.uint8), stored)


def _to_q4_0_of_march(x: np.ndarray, stored: np.ndarray) -> None:
    """q4_0 before #729: the number of largest magnitude gets the code 1 or 15; 0 is not used."""
    stored["scale"] = scale = _largest_magnitude(x) / np.float32(7)
    codes = _rounded(x * _reciprocal(scale)) + 8
    store_codes(codes.view(np.uint8), stored)


def _to_above_minimum(x: np.ndarray, stored: np.ndarray, *, rounded: bool = False) -> None:
    """q4_1 q4_3 q5_1: the smallest number gets the code 0, the largest the highest code."""
    highest = 31 if has_field(stored, "fifth_bits") else 15
    stored["minimum"] = minimum = _first_minimum(x)
    # Which of 0.0 and -0.0 is the maximum depends on the processor. C subtracts the first zero from
    # itself, which gives 0.0: adding zero gives the same here.
    stored["scale"] = scale = (x.max(axis=0) - minimum) / np.float32(highest) + np.float32(0)
    scaled = (x - minimum) * _reciprocal(scale)
    codes = _rounded(scaled) if rounded else _cut_off(scaled + np.float32(0.5))
    store_codes(codes.view(np.uint8), stored)


def _to_bytes(x: np.ndarray, stored: np.ndarray) -> None:
    """q8_0: the number of largest magnitude gets the code -127 or 127."""
    stored["scale"] = scale = _largest_magnitude(x) / np.float32(127)
    stored["bytes"] = _rounded(x * _reciprocal(scale)).T


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
}
_LATER_RULES: dict[tuple[str, Rules | None], Converter] = {
    ("q4_0_v1", "#729"): partial(_to_centered, rounded=True)
}


def _largest_magnitude(x: np.ndarray) -> np.ndarray:
    """(block_size, n) -> (n,), NaN where the block holds one."""
    largest: np.ndarray = np.abs(np.maximum(x.max(axis=0), -x.min(axis=0)))
    return largest


def _of_largest_magnitude(x: np.ndarray) -> np.ndarray:
    """The number of largest magnitude in every block, with its sign; the first one on ties."""
    highest, lowest = x.max(axis=0), x.min(axis=0)
    found: np.ndarray = np.where(highest > -lowest, highest, lowest)
    (ties,) = np.nonzero(highest == -lowest)
    if ties.size:
        found[ties] = x[np.abs(x[:, ties]).argmax(axis=0), ties]
    return found + np.float32(0)  # a block of zeros gives 0.0, so its scale becomes -0.0


def _first_minimum(x: np.ndarray) -> np.ndarray:
    """The smallest number of every block; of 0.0 and -0.0, which are equal, the first one."""
    lowest: np.ndarray = x.min(axis=0)
    (zeros,) = np.nonzero(lowest == 0)
    if zeros.size:
        lowest[zeros] = x[(x[:, zeros] == 0).argmax(axis=0), zeros]
    return lowest


def _reciprocal(scale: np.ndarray) -> np.ndarray:
    """1 / scale, 0 for a scale of 0."""
    return np.where(scale == 0, np.float32(0), np.float32(1) / scale)


def _rounded(x: np.ndarray) -> np.ndarray:
    """Half away from zero, as C's roundf; int8."""
    whole = np.trunc(x)
    twice_the_rest = (x - whole) * np.float32(2)  # exact, and cut off it is -1, 0 or 1
    whole += np.trunc(twice_the_rest, out=twice_the_rest)
    return _cut_off(whole)


def _cut_off(x: np.ndarray) -> np.ndarray:
    """The integer part as int8; 0 where x is not finite, as a C cast gives on x86.

    Such x occur in blocks of numbers below 1e-37: the reciprocal of their scale is infinite.
    """
    if not np.isfinite(x).all():
        x = np.where(np.isfinite(x), x, np.float32(0))
    return x.astype(np.int8)


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
