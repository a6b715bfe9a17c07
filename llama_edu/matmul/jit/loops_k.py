"""The loops for k-quants: rows of super-blocks of 256 numbers, each times one vector.

Built like loops.py, which explains the lanes. Source of the layouts: see quants/k_quants.py.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.loops import (
    OPTIONS,
    clear,
    half,
    high_nibble,
    inlined,
    low_nibble,
    new_lanes,
    total_of,
)
from llama_edu.matmul.jit.machine_code import njit


@inlined
def scale_and_minimum(w, r, o, s):
    """The 6-bit scale and minimum of sub-block s, packed into 12 bytes at o."""
    if s < 4:
        return np.float32(w[r, o + s] & 63), np.float32(w[r, o + s + 4] & 63)
    scale = (w[r, o + s + 4] & 15) | ((w[r, o + s - 4] >> 6) << 4)
    minimum = (w[r, o + s + 4] >> 4) | ((w[r, o + s] >> 6) << 4)
    return np.float32(scale), np.float32(minimum)


@njit(**OPTIONS)
def q4_k(w, x, out, start, stop):
    """8 sub-blocks of 32 codes of 4 bits, each with a scale and a minimum of 6 bits."""
    lanes = new_lanes()
    for r in range(start, stop):
        clear(lanes)
        for b in range(w.shape[1] // 144):
            o = b * 144
            unit, unit_minimum = half(w, r, o), -half(w, r, o + 2)
            for g in range(4):
                scale, minimum = scale_and_minimum(w, r, o + 4, 2 * g)
                scale_2, minimum_2 = scale_and_minimum(w, r, o + 4, 2 * g + 1)
                scale, minimum = unit * scale, unit_minimum * minimum
                scale_2, minimum_2 = unit * scale_2, unit_minimum * minimum_2
                q, c = o + 16 + g * 32, b * 256 + g * 64
                for j in range(32):
                    byte = w[r, q + j]
                    lanes[j] += (low_nibble(byte) * scale + minimum) * x[c + j]
                    lanes[j] += (high_nibble(byte) * scale_2 + minimum_2) * x[c + 32 + j]
        out[r] = total_of(lanes)


@inlined
def fifth_bit(byte, place):
    """16 if a bit of a byte is set, else 0, as float32."""
    bit = np.int32(np.int32(np.int32(byte) >> np.int32(place)) & np.int32(1))
    return np.float32(np.int32(bit * np.int32(16)))


@njit(**OPTIONS)
def q5_k(w, x, out, start, stop):
    """Like q4_k with a fifth bit: bit s of byte l belongs to element l of sub-block s."""
    lanes = new_lanes()
    for r in range(start, stop):
        clear(lanes)
        for b in range(w.shape[1] // 176):
            o = b * 176
            unit, unit_minimum = half(w, r, o), -half(w, r, o + 2)
            for g in range(4):
                scale, minimum = scale_and_minimum(w, r, o + 4, 2 * g)
                scale_2, minimum_2 = scale_and_minimum(w, r, o + 4, 2 * g + 1)
                scale, minimum = unit * scale, unit_minimum * minimum
                scale_2, minimum_2 = unit * scale_2, unit_minimum * minimum_2
                q, c = o + 48 + g * 32, b * 256 + g * 64
                for j in range(32):
                    byte, bits = w[r, q + j], w[r, o + 16 + j]
                    code = low_nibble(byte) + fifth_bit(bits, 2 * g)
                    code_2 = high_nibble(byte) + fifth_bit(bits, 2 * g + 1)
                    lanes[j] += (code * scale + minimum) * x[c + j]
                    lanes[j] += (code_2 * scale_2 + minimum_2) * x[c + 32 + j]
        out[r] = total_of(lanes)


@inlined
def six_bits(byte, place, top_byte, top_place):
    """A 6-bit code minus 32, as float32: four low bits from one byte, two high from another."""
    code = np.int32(np.int32(np.int32(byte) >> np.int32(place)) & np.int32(15))
    top = np.int32(np.int32(np.int32(top_byte) >> np.int32(top_place)) & np.int32(3))
    return np.float32(np.int32(code + np.int32(top * np.int32(16)))) - np.float32(32)


@inlined
def signed(w, r, o):
    """A signed byte as float32."""
    return np.float32(np.int8(w[r, o]))


@njit(**OPTIONS)
def q6_k(w, x, out, start, stop):
    """16 sub-blocks of 16 codes of 6 bits, centered on 32, each with a signed byte as scale."""
    lanes = new_lanes()
    for r in range(start, stop):
        clear(lanes)
        for b in range(w.shape[1] // 210):
            unit = half(w, r, b * 210 + 208)
            for h in range(2):
                q, t = b * 210 + h * 64, b * 210 + 128 + h * 32
                s, c = b * 210 + 192 + h * 8, b * 256 + h * 128
                for j in range(32):
                    one, two, top = w[r, q + j], w[r, q + 32 + j], w[r, t + j]
                    e, i = s + j // 16, c + j
                    part = six_bits(one, 0, top, 0) * (signed(w, r, e) * x[i])
                    part += six_bits(two, 0, top, 2) * (signed(w, r, e + 2) * x[i + 32])
                    part += six_bits(one, 4, top, 4) * (signed(w, r, e + 4) * x[i + 64])
                    part += six_bits(two, 4, top, 6) * (signed(w, r, e + 6) * x[i + 96])
                    lanes[j] += unit * part
        out[r] = total_of(lanes)
