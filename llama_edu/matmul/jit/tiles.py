"""Tiles of stored weights as float32, filled by code that numba compiles.

panels/ multiplies them, or BLAS where the processor has no fused multiplications.

Each function gives the same bits as `dequantize_into`, in one pass over the blocks. `width` is
always 32; as an argument, it keeps the compiler from unrolling the inner loops. Unrolled, they
would not be vectorized, since the compiler cannot know that `tile` and `w` do not overlap.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llama_edu.matmul.jit.loops import (
    OPTIONS,
    as_float,
    half,
    half_bits,
    high_nibble,
    low_nibble,
    with_fifth,
    word,
)
from llama_edu.matmul.jit.loops_k import fifth_bit, scale_and_minimum, signed, six_bits
from llama_edu.matmul.jit.machine_code import njit

_EXACT: dict[str, Any] = {**OPTIONS, "fastmath": False}


@njit(**_EXACT)
def f16(w, tile, width):
    """float16 as int16."""
    for r in range(len(w)):
        for j in range(w.shape[1]):
            tile[r, j] = half_bits(w[r, j]) * np.float32(2.0**112)


@njit(**_EXACT)
def bf16(w, tile, width):
    """bfloat16 as int16."""
    for r in range(len(w)):
        for j in range(w.shape[1]):
            tile[r, j] = as_float(np.int32(np.int32(w[r, j]) << np.int32(16)))


@njit(**_EXACT)
def q8_0(w, tile, width):
    """Blocks of 34 bytes."""
    for r in range(len(w)):
        for b in range(w.shape[1] // 34):
            o, c = b * 34, b * 32
            scale = half(w, r, o)
            for j in range(width):
                tile[r, c + j] = np.float32(np.int8(w[r, o + 2 + j])) * scale


@njit(**_EXACT)
def q4_0(w, tile, width):
    """Blocks of 18 bytes."""
    for r in range(len(w)):
        for b in range(w.shape[1] // 18):
            o, c = b * 18, b * 32
            scale = half(w, r, o)
            for j in range(width // 2):
                byte = w[r, o + 2 + j]
                tile[r, c + j] = (low_nibble(byte) - np.float32(8)) * scale
                tile[r, c + 16 + j] = (high_nibble(byte) - np.float32(8)) * scale


@njit(**_EXACT)
def q4_1(w, tile, width):
    """Blocks of 20 bytes."""
    for r in range(len(w)):
        for b in range(w.shape[1] // 20):
            o, c = b * 20, b * 32
            scale, minimum = half(w, r, o), half(w, r, o + 2)
            for j in range(width // 2):
                byte = w[r, o + 4 + j]
                tile[r, c + j] = low_nibble(byte) * scale + minimum
                tile[r, c + 16 + j] = high_nibble(byte) * scale + minimum


@njit(**_EXACT)
def q5_0(w, tile, width):
    """Blocks of 22 bytes."""
    for r in range(len(w)):
        for b in range(w.shape[1] // 22):
            o, c = b * 22, b * 32
            scale, fifth = half(w, r, o), word(w, r, o + 2)
            for j in range(width // 2):
                byte = w[r, o + 6 + j]
                low = with_fifth(low_nibble(byte), fifth, j)
                high = with_fifth(high_nibble(byte), fifth, 16 + j)
                tile[r, c + j] = (low - np.float32(16)) * scale
                tile[r, c + 16 + j] = (high - np.float32(16)) * scale


@njit(**_EXACT)
def q5_1(w, tile, width):
    """Blocks of 24 bytes."""
    for r in range(len(w)):
        for b in range(w.shape[1] // 24):
            o, c = b * 24, b * 32
            scale, minimum, fifth = half(w, r, o), half(w, r, o + 2), word(w, r, o + 4)
            for j in range(width // 2):
                byte = w[r, o + 8 + j]
                low = with_fifth(low_nibble(byte), fifth, j)
                high = with_fifth(high_nibble(byte), fifth, 16 + j)
                tile[r, c + j] = low * scale + minimum
                tile[r, c + 16 + j] = high * scale + minimum


@njit(**_EXACT)
def q4_k(w, tile, width):
    """Super-blocks of 144 bytes."""
    for r in range(len(w)):
        for b in range(w.shape[1] // 144):
            o = b * 144
            unit, unit_minimum = half(w, r, o), half(w, r, o + 2)
            for g in range(4):
                scale, minimum = scale_and_minimum(w, r, o + 4, 2 * g)
                scale_2, minimum_2 = scale_and_minimum(w, r, o + 4, 2 * g + 1)
                scale, minimum = unit * scale, unit_minimum * minimum
                scale_2, minimum_2 = unit * scale_2, unit_minimum * minimum_2
                q, c = o + 16 + g * 32, b * 256 + g * 64
                for j in range(width):
                    byte = w[r, q + j]
                    tile[r, c + j] = low_nibble(byte) * scale - minimum
                    tile[r, c + 32 + j] = high_nibble(byte) * scale_2 - minimum_2


@njit(**_EXACT)
def q5_k(w, tile, width):
    """Super-blocks of 176 bytes."""
    for r in range(len(w)):
        for b in range(w.shape[1] // 176):
            o = b * 176
            unit, unit_minimum = half(w, r, o), half(w, r, o + 2)
            for g in range(4):
                scale, minimum = scale_and_minimum(w, r, o + 4, 2 * g)
                scale_2, minimum_2 = scale_and_minimum(w, r, o + 4, 2 * g + 1)
                scale, minimum = unit * scale, unit_minimum * minimum
                scale_2, minimum_2 = unit * scale_2, unit_minimum * minimum_2
                q, c = o + 48 + g * 32, b * 256 + g * 64
                for j in range(width):
                    byte, bits = w[r, q + j], w[r, o + 16 + j]
                    code = low_nibble(byte) + fifth_bit(bits, 2 * g)
                    code_2 = high_nibble(byte) + fifth_bit(bits, 2 * g + 1)
                    tile[r, c + j] = code * scale - minimum
                    tile[r, c + 32 + j] = code_2 * scale_2 - minimum_2


@njit(**_EXACT)
def q6_k(w, tile, width):
    """Super-blocks of 210 bytes."""
    for r in range(len(w)):
        for b in range(w.shape[1] // 210):
            unit = half(w, r, b * 210 + 208)
            for h in range(2):
                q, t = b * 210 + h * 64, b * 210 + 128 + h * 32
                s, c = b * 210 + 192 + h * 8, b * 256 + h * 128
                for m in range(2):
                    scale, scale_2 = unit * signed(w, r, s + m), unit * signed(w, r, s + m + 2)
                    scale_3, scale_4 = (
                        unit * signed(w, r, s + m + 4),
                        unit * signed(w, r, s + m + 6),
                    )
                    for j in range(m * 16, m * 16 + width // 2):
                        one, two, top = w[r, q + j], w[r, q + 32 + j], w[r, t + j]
                        tile[r, c + j] = six_bits(one, 0, top, 0) * scale
                        tile[r, c + 32 + j] = six_bits(two, 0, top, 2) * scale_2
                        tile[r, c + 64 + j] = six_bits(one, 4, top, 4) * scale_3
                        tile[r, c + 96 + j] = six_bits(two, 4, top, 6) * scale_4
