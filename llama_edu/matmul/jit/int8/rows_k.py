"""Each row of k-quants or iq4_xs times rounded positions: the int8 sibling of jit/loops_k.py.

A block of 256 numbers shares one float scale on both sides, and its sub-blocks have integers as
scales: so the whole block is added up in integers. rows.py explains the arguments; x was rounded in
groups of 16 for q2_k, q3_k and q6_k, whose scales are for 16 numbers, and of 32 for the others.
"""

from __future__ import annotations

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
    as_floats,
    dot,
    fma,
    lane,
    masked,
    pair,
    plus,
    right,
    signed_dot,
    signed_ints,
    times,
    total,
    unsigned_ints,
)
from llama_edu.matmul.jit.int8.rows import centered, codes, sums_of_four
from llama_edu.matmul.jit.int8.vectors import (
    bytes_16,
    float_at,
    half,
    ints_8,
    ints_16,
    no_floats_8,
    no_floats_16,
    no_ints_8,
    signed_16,
    spread_8,
    spread_16,
    spread_ints_8,
)
from llama_edu.matmul.jit.loops import inlined


@inlined
def scale(x, t, n, b, group):
    """The scale of 256 numbers of x, which all of their groups repeat."""
    return float_at(x, t, 2 * n + 4 * (256 // group) * b)


@inlined
def q4_k(w, x, out, start, stop):
    """8 sub-blocks of 32 codes of 4 bits, each with a scale and a minimum of 6 bits."""
    n_blocks = w.shape[1] // 144
    n = n_blocks * 256
    for r in range(start, stop):
        for t in range(len(x)):
            sums, low = no_floats_8(), no_floats_8()
            for b in range(n_blocks):
                o, scales, dots = b * 144, six_bit_scales(w, r, b * 144 + 4), no_ints_8()
                for s in range(8):
                    part = dot(no_ints_8(), q4_k_codes(w, r, o, s), codes(x, t, b * 8 + s))
                    dots = plus(dots, times(part, lane(scales, s)))
                size = scale(x, t, n, b, 32)
                sums = fma(as_floats(dots), spread_8(half(w, r, o) * size), sums)
                minimums = times(
                    six_bit_minimums(w, r, o + 4), ints_8(x, t, 2 * n + n // 4 + 32 * b)
                )
                low = fma(as_floats(minimums), spread_8(half(w, r, o + 2) * size), low)
            out[t, r] = total(sums) + total(low)


@inlined
def q5_k(w, x, out, start, stop):
    """Like q4_k, with codes of 5 bits."""
    n_blocks = w.shape[1] // 176
    n = n_blocks * 256
    for r in range(start, stop):
        for t in range(len(x)):
            sums, low = no_floats_8(), no_floats_8()
            for b in range(n_blocks):
                o, scales, dots = b * 176, six_bit_scales(w, r, b * 176 + 4), no_ints_8()
                for s in range(8):
                    part = dot(no_ints_8(), q5_k_codes(w, r, o, s), codes(x, t, b * 8 + s))
                    dots = plus(dots, times(part, lane(scales, s)))
                size = scale(x, t, n, b, 32)
                sums = fma(as_floats(dots), spread_8(half(w, r, o) * size), sums)
                minimums = times(
                    six_bit_minimums(w, r, o + 4), ints_8(x, t, 2 * n + n // 4 + 32 * b)
                )
                low = fma(as_floats(minimums), spread_8(half(w, r, o + 2) * size), low)
            out[t, r] = total(sums) + total(low)


@inlined
def q6_k(w, x, out, start, stop):
    """16 sub-blocks of 16 codes of 6 bits, centered on 32, each with a signed byte as scale."""
    n_blocks = w.shape[1] // 210
    n = n_blocks * 256
    for r in range(start, stop):
        for t in range(len(x)):
            sums = no_floats_8()
            for b in range(n_blocks):
                o, dots = b * 210, no_ints_8()
                scales = signed_ints(signed_16(w, r, o + 192))
                for s in range(8):
                    g = b * 8 + s
                    start_at = centered(x, t, n, g, 5)
                    part = dot(start_at, q6_k_codes(w, r, o, s), codes(x, t, g))
                    dots = plus(dots, times(part, pair(scales, 2 * s)))
                size = half(w, r, o + 208) * scale(x, t, n, b, 16)
                sums = fma(as_floats(dots), spread_8(size), sums)
            out[t, r] = total(sums)


@inlined
def q3_k(w, x, out, start, stop):
    """16 sub-blocks of 16 codes of 3 bits, centered on 4, each with a scale of 6 bits less 32."""
    n_blocks = w.shape[1] // 110
    n = n_blocks * 256
    for r in range(start, stop):
        for t in range(len(x)):
            sums = no_floats_8()
            for b in range(n_blocks):
                o, dots = b * 110, no_ints_8()
                scales = q3_k_scales(w, r, o + 96)
                for s in range(8):
                    g = b * 8 + s
                    start_at = centered(x, t, n, g, 2)
                    part = dot(start_at, q3_k_codes(w, r, o, s), codes(x, t, g))
                    dots = plus(dots, times(part, pair(scales, 2 * s)))
                size = half(w, r, o + 108) * scale(x, t, n, b, 16)
                sums = fma(as_floats(dots), spread_8(size), sums)
            out[t, r] = total(sums)


@inlined
def q2_k(w, x, out, start, stop):
    """16 sub-blocks of 16 codes of 2 bits, each with a scale and a minimum of 4 bits."""
    n_blocks = w.shape[1] // 84
    n = n_blocks * 256
    for r in range(start, stop):
        for t in range(len(x)):
            sums, low = no_floats_8(), no_floats_16()
            for b in range(n_blocks):
                o, dots = b * 84, no_ints_8()
                packed = bytes_16(w, r, o)
                scales = unsigned_ints(masked(packed, 15))
                for s in range(8):
                    part = dot(no_ints_8(), q2_k_codes(w, r, o, s), codes(x, t, b * 8 + s))
                    dots = plus(dots, times(part, pair(scales, 2 * s)))
                size = scale(x, t, n, b, 16)
                sums = fma(as_floats(dots), spread_8(half(w, r, o + 80) * size), sums)
                minimums = times(
                    unsigned_ints(right(packed, 4)), ints_16(x, t, 2 * n + n // 2 + 64 * b)
                )
                low = fma(as_floats(minimums), spread_16(half(w, r, o + 82) * size), low)
            out[t, r] = total(sums) + total(low)


@inlined
def iq4_xs(w, x, out, start, stop):
    """8 sub-blocks of 32 places in a table, each with a scale of 6 bits less 32."""
    n_blocks = w.shape[1] // 136
    n = n_blocks * 256
    for r in range(start, stop):
        for t in range(len(x)):
            sums = no_floats_8()
            for b in range(n_blocks):
                o, dots = b * 136, no_ints_8()
                for s in range(8):
                    g = b * 8 + s
                    less = sums_of_four(x, t, n, g)
                    part = signed_dot(less, iq4_xs_codes(w, r, o, s), codes(x, t, g))
                    dots = plus(dots, times(part, spread_ints_8(iq4_xs_scale(w, r, o, s))))
                size = half(w, r, o) * scale(x, t, n, b, 32)
                sums = fma(as_floats(dots), spread_8(size), sums)
            out[t, r] = total(sums)
