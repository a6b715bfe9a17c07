"""Rows of k-quants or iq4_xs as bytes and numbers; unpack.py explains the arguments.

Scales and minimums are multiplied out to float32 here. Groups are of 16 numbers for q2_k, q3_k and
q6_k, whose scales are (rows, n / 16), and of 32 for the others.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.int8.blocks_k import (
    iq4_xs_codes,
    iq4_xs_scale,
    q2_k_codes,
    q3_k_codes,
    q3_k_scales,
    q4_k_codes,
    q5_k_codes,
    q6_k_codes,
    six_bit_minimums,
    six_bit_scales,
)
from llama_edu.matmul.jit.int8.lanes import (
    int_lane,
    without_sign,
)
from llama_edu.matmul.jit.int8.vectors import (
    half,
    store,
)
from llama_edu.matmul.jit.loops import OPTIONS
from llama_edu.matmul.jit.machine_code import njit


@njit(**OPTIONS)
def q4_k(w, start, codes, scales, minimums):
    """8 sub-blocks of 32 codes of 4 bits, each with a scale and a minimum of 6 bits."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 144):
            o = b * 144
            unit, unit_minimum = half(w, r, o), half(w, r, o + 2)
            counts, lows = six_bit_scales(w, r, o + 4), six_bit_minimums(w, r, o + 4)
            for s in range(8):
                g = b * 8 + s
                store(codes, i, g * 32, q4_k_codes(w, r, o, s))
                scales[i, g] = unit * np.float32(int_lane(counts, s))
                minimums[i, g] = -unit_minimum * np.float32(int_lane(lows, s))


@njit(**OPTIONS)
def q5_k(w, start, codes, scales, minimums):
    """8 sub-blocks of 32 codes of 5 bits, each with a scale and a minimum of 6 bits."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 176):
            o = b * 176
            unit, unit_minimum = half(w, r, o), half(w, r, o + 2)
            counts, lows = six_bit_scales(w, r, o + 4), six_bit_minimums(w, r, o + 4)
            for s in range(8):
                g = b * 8 + s
                store(codes, i, g * 32, q5_k_codes(w, r, o, s))
                scales[i, g] = unit * np.float32(int_lane(counts, s))
                minimums[i, g] = -unit_minimum * np.float32(int_lane(lows, s))


@njit(**OPTIONS)
def q6_k(w, start, codes, scales, minimums):
    """16 sub-blocks of 16 codes of 6 bits, each with a signed byte as scale."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 210):
            o = b * 210
            for s in range(8):
                store(codes, i, (b * 8 + s) * 32, q6_k_codes(w, r, o, s))
            unit = half(w, r, o + 208)
            for s in range(16):
                count = np.float32(np.int8(w[r, o + 192 + s]))
                scales[i, b * 16 + s] = unit * count


@njit(**OPTIONS)
def q3_k(w, start, codes, scales, minimums):
    """16 sub-blocks of 16 codes of 3 bits, each with a scale of 6 bits less 32."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 110):
            o = b * 110
            for s in range(8):
                store(codes, i, (b * 8 + s) * 32, q3_k_codes(w, r, o, s))
            unit, counts = half(w, r, o + 108), q3_k_scales(w, r, o + 96)
            for s in range(16):
                count = np.float32(int_lane(counts, s))
                scales[i, b * 16 + s] = unit * count


@njit(**OPTIONS)
def q2_k(w, start, codes, scales, minimums):
    """16 sub-blocks of 16 codes of 2 bits, each with a scale and a minimum of 4 bits."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 84):
            o = b * 84
            for s in range(8):
                store(codes, i, (b * 8 + s) * 32, q2_k_codes(w, r, o, s))
            unit, unit_minimum = half(w, r, o + 80), half(w, r, o + 82)
            for s in range(16):
                both, g = w[r, o + s], b * 16 + s
                scales[i, g] = unit * np.float32(both & 15)
                minimums[i, g] = -unit_minimum * np.float32(both >> 4)


@njit(**OPTIONS)
def iq4_xs(w, start, codes, scales, minimums):
    """8 sub-blocks of 32 places in a table, each with a scale of 6 bits less 32."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 136):
            o = b * 136
            unit = half(w, r, o)
            for s in range(8):
                g = b * 8 + s
                store(codes, i, g * 32, without_sign(iq4_xs_codes(w, r, o, s)))
                scales[i, g] = unit * np.float32(iq4_xs_scale(w, r, o, s))
