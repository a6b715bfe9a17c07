"""x as codes of 8 bits, with a scale and sums for each group, as llama.cpp rounds it.

The rules are those of matmul/arithmetic.py, its slow sibling. A rounded position is one row of
bytes; for n numbers in G = n / group groups it holds, one after the other:

| what | type | bytes | where |
|---|---|---|---|
| codes | int8 | n | 0 |
| for each four codes, their sum, negated | int32 | n | n |
| scales, one for each group | float32 | 4 G | 2 n |
| sums of codes * scale, one for each group | float32 | 4 G | 2 n + 4 G |
| sums of codes, negated, one for each group | int32 | 4 G | 2 n + 8 G |

Numbers that are not finite make the scale NaN, and with it all results of the position.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llama_edu.matmul.jit.int8.lanes import (
    dot,
    float_times,
    int_total,
    largest,
    less,
    masked,
    nearest_bytes,
    rounded_to_half,
)
from llama_edu.matmul.jit.int8.vectors import (
    floats_32,
    ints_4,
    ints_32,
    no_ints_8,
    spread_32,
    spread_bytes_32,
    store,
    store_number,
)
from llama_edu.matmul.jit.loops import OPTIONS, as_float, inlined
from llama_edu.matmul.jit.machine_code import njit

#: A multiplication that fused with an addition would round once where llama.cpp rounds twice.
_EXACT: dict[str, Any] = {**OPTIONS, "fastmath": False}

#: Below this, 127 / x is more than a float32 can hold, and x counts as zero.
_SMALLEST = np.float32(127) / np.finfo(np.float32).max


def row_bytes(n: int, group: int) -> int:
    """Bytes of a rounded position of n numbers."""
    return 2 * n + 12 * (n // group)


@inlined
def _largest(x, t, start, size):
    """The bits of the largest magnitude: as integers, magnitudes have the same order."""
    found = np.int32(0)
    for j in range(start, start + size, 32):
        found = max(found, largest(masked(ints_32(x, t, 4 * j), 0x7FFFFFFF)))
    return found


@inlined
def _is_finite(bits):
    """Whether the bits of a magnitude are those of a number."""
    return bits < np.int32(0x7F800000)


@inlined
def _write_codes(x, out, t, start, factor):
    """The codes of 32 numbers of one position, and the sums of each four."""
    codes = nearest_bytes(float_times(floats_32(x, t, 4 * start), spread_32(factor)))
    store(out, t, start, codes)
    sums = dot(no_ints_8(), spread_bytes_32(np.uint8(1)), codes)
    store(out, t, x.shape[1] + start, less(no_ints_8(), sums))


@inlined
def _write_zeros(out, t, n, start):
    """Zeros as 32 codes and as sums of each four."""
    store(out, t, start, spread_bytes_32(np.uint8(0)))
    store(out, t, n + start, no_ints_8())


@inlined
def _write_group(out, t, n, group, g, scale, exact, to_half):
    """What stands beside the codes of group g; the sum is that of codes * exact."""
    total = np.int32(0)
    for j in range(g * group, g * group + group, 16):
        total = np.int32(total + int_total(ints_4(out, t, n + j)))
    at, size = 2 * n + 4 * g, 4 * (n // group)
    product = exact * np.float32(-total)
    store_number(out, t, at, scale)
    store_number(out, t, at + size, rounded_to_half(product) if to_half else product)
    store_number(out, t, at + 2 * size, total)


@njit(**_EXACT)
def to_q8_1(x, out):
    """Q8_0 and Q8_1, for groups of 32: float16 scales, and sums rounded to float16."""
    n = x.shape[1]
    for t in range(len(x)):
        for g in range(n // 32):
            bits = _largest(x, t, g * 32, 32)
            scale = np.float32(np.nan)
            if _is_finite(bits):
                size = as_float(bits)
                scale = size / np.float32(127)
                factor = np.float32(127) / size if size >= _SMALLEST else np.float32(0)
                _write_codes(x, out, t, g * 32, factor)
            else:
                _write_zeros(out, t, n, g * 32)
            _write_group(out, t, n, 32, g, rounded_to_half(scale), scale, True)


@njit(**_EXACT)
def to_q8_k(x, out, group):
    """Q8_K, for groups of 16 or 32: one float32 scale for 256 numbers."""
    n = x.shape[1]
    for t in range(len(x)):
        for b in range(n // 256):
            bits = _largest(x, t, b * 256, 256)
            scale = np.float32(np.nan)
            if _is_finite(bits):
                size = as_float(bits)
                scale = factor = np.float32(0)
                if size >= _SMALLEST:
                    factor = np.float32(127) / size
                    scale = np.float32(1) / factor
                for j in range(b * 256, b * 256 + 256, 32):
                    _write_codes(x, out, t, j, factor)
            else:
                for j in range(b * 256, b * 256 + 256, 32):
                    _write_zeros(out, t, n, j)
            for g in range(b * 256 // group, (b + 1) * 256 // group):
                _write_group(out, t, n, group, g, scale, scale, False)
