"""16 rows of codes times all positions: prompts, where each weight is used more than once.

As in panels/tiles.py, each lane of a vector belongs to one position: unpack.py has made bytes of
the codes of a row, which are read four at a time for all lanes; scales of both sides are applied to
a vector of positions at once, and nothing has to be added up across lanes.

A rounded position is a row of rounding.py without the sums of each four, in numbers of 4 bytes: n/4
with codes, then G = n / group each with scales, sums, and sums of codes, negated.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.int8.lanes import as_floats, dot, float_times, fma
from llama_edu.matmul.jit.int8.vectors import float_at, no_floats_16
from llama_edu.matmul.jit.loops import OPTIONS, inlined
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.panels.lanes import (
    WIDE,
    floats,
    four_bytes,
    fours,
    lanes_of,
    no_floats_wide,
    scaled_ints,
    spread,
    store_four,
)
from llama_edu.matmul.jit.panels.tiles import write


@inlined
def _four_rows(zero, codes, scales, minimums, r, x, at, group, bias, tile, column):
    """Rows r to r + 3 times the panel at byte `at` of x, to four columns of the tile."""
    a = b = c = d = zero
    n_bytes = 4 * lanes_of(zero)
    n_groups = scales.shape[1]
    scale_at = at + codes.shape[1] // 4 * n_bytes
    sum_at, total_at = scale_at + n_groups * n_bytes, scale_at + 2 * n_groups * n_bytes
    for g in range(n_groups):
        dots_a = dots_b = dots_c = dots_d = scaled_ints(zero, x, 0, total_at + g * n_bytes, bias)
        for part in range(g * group, (g + 1) * group, 16):
            for k in range(part, part + 16, 4):
                there = fours(zero, x, 0, at + k // 4 * n_bytes)
                dots_a = dot(dots_a, four_bytes(zero, codes, r, k), there)
                dots_b = dot(dots_b, four_bytes(zero, codes, r + 1, k), there)
                dots_c = dot(dots_c, four_bytes(zero, codes, r + 2, k), there)
                dots_d = dot(dots_d, four_bytes(zero, codes, r + 3, k), there)
        by = floats(zero, x, 0, scale_at + g * n_bytes)
        a = fma(float_times(as_floats(dots_a), by), spread(zero, float_at(scales, r, 4 * g)), a)
        b = fma(float_times(as_floats(dots_b), by), spread(zero, float_at(scales, r + 1, 4 * g)), b)
        c = fma(float_times(as_floats(dots_c), by), spread(zero, float_at(scales, r + 2, 4 * g)), c)
        d = fma(float_times(as_floats(dots_d), by), spread(zero, float_at(scales, r + 3, 4 * g)), d)
        if minimums.shape[1]:
            total = floats(zero, x, 0, sum_at + g * n_bytes)
            a = fma(total, spread(zero, float_at(minimums, r, 4 * g)), a)
            b = fma(total, spread(zero, float_at(minimums, r + 1, 4 * g)), b)
            c = fma(total, spread(zero, float_at(minimums, r + 2, 4 * g)), c)
            d = fma(total, spread(zero, float_at(minimums, r + 3, 4 * g)), d)
    store_four(tile, 0, 4 * column, a, b, c, d)


@njit(**OPTIONS)
def multiply(codes, scales, minimums, x, group, bias, out, shift):
    """Positions times unpacked rows.

    Args:
        codes, scales, minimums: as unpack.py fills them, 16 rows or more; the last tile may begin
            earlier, to end with them.
        x: (1, bytes) uint8: panels of rounded positions.
        group: numbers that share a scale, 16 or 32. bias: the middle of the codes.
        out: (T, columns) float32, T a multiple of 16. shift: the column of the first row of codes.
    """
    tile = np.empty((WIDE, 16), np.float32)
    n_bytes = codes.shape[1] + 12 * scales.shape[1]
    for p in range((len(codes) + 15) // 16):
        r = min(16 * p, len(codes) - 16)
        t = 0
        while t + WIDE <= len(out):
            for q in range(0, 16, 4):
                _four_rows(
                    no_floats_wide(),
                    codes,
                    scales,
                    minimums,
                    r + q,
                    x,
                    t * n_bytes,
                    group,
                    bias,
                    tile,
                    q,
                )
            write(tile, WIDE, out, t, shift + r)
            t += WIDE
        while t < len(out):
            for q in range(0, 16, 4):
                _four_rows(
                    no_floats_16(),
                    codes,
                    scales,
                    minimums,
                    r + q,
                    x,
                    t * n_bytes,
                    group,
                    bias,
                    tile,
                    q,
                )
            write(tile, 16, out, t, shift + r)
            t += 16
