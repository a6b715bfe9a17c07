"""Each row of stored blocks times rounded positions: the int8 sibling of jit/loops.py.

Integers are exact inside a block; then one multiplication by both scales. Codes are centered by
starting from the sums of x, which rounding.py keeps negated: 8 times those for codes around 8.
Every loop takes w (rows, bytes of a row) uint8, x (T, row_bytes) uint8 from rounding.py and out
(T, rows) float32, and computes rows start to stop.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.int8.blocks import five_bits, nibbles, table_values
from llama_edu.matmul.jit.int8.lanes import (
    as_floats,
    dot,
    fma,
    left,
    signed_dot,
    total,
)
from llama_edu.matmul.jit.int8.vectors import (
    bytes_32,
    float_at,
    half,
    ints_8,
    no_floats_8,
    no_ints_8,
    spread_8,
)
from llama_edu.matmul.jit.loops import inlined


@inlined
def codes(x, t, b):
    """The codes of 32 numbers of x."""
    return bytes_32(x, t, b * 32)


@inlined
def sums_of_four(x, t, n, b):
    """The sums of each four of these codes, negated."""
    return ints_8(x, t, n + b * 32)


@inlined
def centered(x, t, n, b, places):
    """What sums start from for weights centered on 2 ** places: that times the sums of x."""
    return left(sums_of_four(x, t, n, b), places)


@inlined
def scale(x, t, n, b):
    """The scale of 32 numbers of x."""
    return float_at(x, t, 2 * n + 4 * b)


@inlined
def sum_of(x, t, n, b):
    """The sum of 32 numbers of x."""
    return float_at(x, t, 2 * n + n // 8 + 4 * b)


@inlined
def q4_0_block(w, x, r, t, n, b, sums):
    """Sums, and those of block b."""
    dots = dot(centered(x, t, n, b, 3), nibbles(w, r, b * 18 + 2), codes(x, t, b))
    return fma(as_floats(dots), spread_8(half(w, r, b * 18) * scale(x, t, n, b)), sums)


@inlined
def q4_0(w, x, out, start, stop):
    """Blocks of a float16 scale and 32 codes of 4 bits, centered on 8.

    Two sums take turns, so that one addition need not wait for the last.
    """
    n_blocks = w.shape[1] // 18
    n = n_blocks * 32
    for r in range(start, stop):
        for t in range(len(x)):
            sums, others = no_floats_8(), no_floats_8()
            for b in range(0, n_blocks - 1, 2):
                sums = q4_0_block(w, x, r, t, n, b, sums)
                others = q4_0_block(w, x, r, t, n, b + 1, others)
            if n_blocks % 2:
                sums = q4_0_block(w, x, r, t, n, n_blocks - 1, sums)
            out[t, r] = total(sums) + total(others)


@inlined
def q4_1(w, x, out, start, stop):
    """Blocks of a float16 scale, a float16 minimum and 32 codes of 4 bits."""
    n_blocks = w.shape[1] // 20
    n = n_blocks * 32
    for r in range(start, stop):
        for t in range(len(x)):
            sums = no_floats_8()
            low = np.float32(0)
            for b in range(n_blocks):
                o = b * 20
                dots = dot(no_ints_8(), nibbles(w, r, o + 4), codes(x, t, b))
                low += half(w, r, o + 2) * sum_of(x, t, n, b)
                sums = fma(as_floats(dots), spread_8(half(w, r, o) * scale(x, t, n, b)), sums)
            out[t, r] = total(sums) + low


@inlined
def q5_0(w, x, out, start, stop):
    """Blocks of a float16 scale and 32 codes of 5 bits, centered on 16."""
    n_blocks = w.shape[1] // 22
    n = n_blocks * 32
    for r in range(start, stop):
        for t in range(len(x)):
            sums = no_floats_8()
            for b in range(n_blocks):
                o = b * 22
                dots = dot(centered(x, t, n, b, 4), five_bits(w, r, o + 2), codes(x, t, b))
                sums = fma(as_floats(dots), spread_8(half(w, r, o) * scale(x, t, n, b)), sums)
            out[t, r] = total(sums)


@inlined
def q5_1(w, x, out, start, stop):
    """Blocks of a float16 scale, a float16 minimum and 32 codes of 5 bits."""
    n_blocks = w.shape[1] // 24
    n = n_blocks * 32
    for r in range(start, stop):
        for t in range(len(x)):
            sums = no_floats_8()
            low = np.float32(0)
            for b in range(n_blocks):
                o = b * 24
                dots = dot(no_ints_8(), five_bits(w, r, o + 4), codes(x, t, b))
                low += half(w, r, o + 2) * sum_of(x, t, n, b)
                sums = fma(as_floats(dots), spread_8(half(w, r, o) * scale(x, t, n, b)), sums)
            out[t, r] = total(sums) + low


@inlined
def q8_0(w, x, out, start, stop):
    """Blocks of a float16 scale and 32 signed bytes."""
    n_blocks = w.shape[1] // 34
    n = n_blocks * 32
    for r in range(start, stop):
        for t in range(len(x)):
            sums = no_floats_8()
            for b in range(n_blocks):
                o = b * 34
                dots = signed_dot(sums_of_four(x, t, n, b), bytes_32(w, r, o + 2), codes(x, t, b))
                sums = fma(as_floats(dots), spread_8(half(w, r, o) * scale(x, t, n, b)), sums)
            out[t, r] = total(sums)


@inlined
def iq4_nl(w, x, out, start, stop):
    """Blocks of a float16 scale and 32 places in a table."""
    n_blocks = w.shape[1] // 18
    n = n_blocks * 32
    for r in range(start, stop):
        for t in range(len(x)):
            sums = no_floats_8()
            for b in range(n_blocks):
                o = b * 18
                dots = signed_dot(
                    sums_of_four(x, t, n, b), table_values(w, r, o + 2), codes(x, t, b)
                )
                sums = fma(as_floats(dots), spread_8(half(w, r, o) * scale(x, t, n, b)), sums)
            out[t, r] = total(sums)
