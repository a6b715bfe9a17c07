"""16 rows of weights times all positions: prompts in float32 and bfloat16.

Positions lie side by side (positions.py), so each lane of a vector belongs to one position: weights
are read as they lie, one number at a time for all lanes, and nothing has to be added up across
lanes. Four rows share one load of x; their sums stay in registers until the row has ended.

The instruction for bfloat16 counts subnormal numbers, below 1.2e-38, as 0.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.int8.lanes import fma
from llama_edu.matmul.jit.int8.vectors import float_at, floats_16, int_at, no_floats_16, store
from llama_edu.matmul.jit.loops import OPTIONS, inlined
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.panels.lanes import (
    WIDE,
    bf16_dot,
    floats,
    ints,
    lanes_of,
    no_floats_wide,
    plus,
    spread,
    store_four,
)

#: Products that are added up before their sum goes to the others: long sums lose digits.
PARTIAL = 128


@inlined
def write(tile, n_positions, out, t, r):
    """16 finished columns of some positions: (n_positions, 16) float32 to their place in out."""
    for i in range(n_positions):
        store(out, t + i, 4 * r, floats_16(tile, i, 0))


@inlined
def _four_rows(zero, w, r, x, at, tile, column):
    """Rows r to r + 3 times the panel at byte `at` of x, to four columns of the tile."""
    sum_a = sum_b = sum_c = sum_d = zero
    n_bytes = 4 * lanes_of(zero)
    for first in range(0, w.shape[1], PARTIAL):
        a = b = c = d = zero
        for k in range(first, min(first + PARTIAL, w.shape[1])):
            there = floats(zero, x, 0, at + k * n_bytes)
            a = fma(spread(zero, float_at(w, r, 4 * k)), there, a)
            b = fma(spread(zero, float_at(w, r + 1, 4 * k)), there, b)
            c = fma(spread(zero, float_at(w, r + 2, 4 * k)), there, c)
            d = fma(spread(zero, float_at(w, r + 3, 4 * k)), there, d)
        sum_a, sum_b, sum_c, sum_d = plus(sum_a, a), plus(sum_b, b), plus(sum_c, c), plus(sum_d, d)
    store_four(tile, 0, 4 * column, sum_a, sum_b, sum_c, sum_d)


@njit(**OPTIONS)
def float32(w, start, stop, x, out, shift):
    """Tiles `start` to `stop` of w, of 16 rows each, times x.

    Args:
        w: (rows, n) float32, 16 rows or more; the last tile may begin earlier, to end with them.
        x: (1, bytes) uint8 from positions.py.
        out: (T, columns) float32, T a multiple of 16. shift: the column of the first row of w.
    """
    tile = np.empty((WIDE, 16), np.float32)
    n_bytes = 4 * w.shape[1]
    for p in range(start, stop):
        r = min(16 * p, len(w) - 16)
        t = 0
        while t + WIDE <= len(out):
            for q in range(0, 16, 4):
                _four_rows(no_floats_wide(), w, r + q, x, t * n_bytes, tile, q)
            write(tile, WIDE, out, t, shift + r)
            t += WIDE
        while t < len(out):
            for q in range(0, 16, 4):
                _four_rows(no_floats_16(), w, r + q, x, t * n_bytes, tile, q)
            write(tile, 16, out, t, shift + r)
            t += 16


@inlined
def _four_bf16_rows(zero, w, r, x, at, tile, column):
    """The same for pairs of bfloat16."""
    a = b = c = d = zero
    n_bytes = 4 * lanes_of(zero)
    for k in range(w.shape[1] // 2):
        there = ints(zero, x, 0, at + k * n_bytes)
        a = bf16_dot(a, int_at(w, r, 4 * k), there)
        b = bf16_dot(b, int_at(w, r + 1, 4 * k), there)
        c = bf16_dot(c, int_at(w, r + 2, 4 * k), there)
        d = bf16_dot(d, int_at(w, r + 3, 4 * k), there)
    store_four(tile, 0, 4 * column, a, b, c, d)


@njit(**OPTIONS)
def bf16(w, start, stop, x, out, shift):
    """The same: w (rows, n) int16, n even, and x in pairs of bfloat16."""
    tile = np.empty((WIDE, 16), np.float32)
    n_bytes = 2 * w.shape[1]
    for p in range(start, stop):
        r = min(16 * p, len(w) - 16)
        t = 0
        while t + WIDE <= len(out):
            for q in range(0, 16, 4):
                _four_bf16_rows(no_floats_wide(), w, r + q, x, t * n_bytes, tile, q)
            write(tile, WIDE, out, t, shift + r)
            t += WIDE
        while t < len(out):
            for q in range(0, 16, 4):
                _four_bf16_rows(no_floats_16(), w, r + q, x, t * n_bytes, tile, q)
            write(tile, 16, out, t, shift + r)
            t += 16
