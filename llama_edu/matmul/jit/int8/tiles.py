"""16 rows times 4 positions at a time: prompts, where each weight is used more than once.

repack.py has laid 16 rows side by side, so each lane of a vector belongs to one row: scales are
applied to 16 rows at once, and nothing has to be added up across lanes. One load of 64 codes serves
4 positions, whose codes are spread to all lanes, four at a time.
"""

from __future__ import annotations

from llama_edu.matmul.jit.int8.lanes import (
    as_floats,
    dot,
    float_times,
    fma,
)
from llama_edu.matmul.jit.int8.vectors import (
    bytes_64,
    float_at,
    floats_16,
    four_times_16,
    int_at,
    no_floats_16,
    spread_16,
    spread_ints_16,
    store,
)
from llama_edu.matmul.jit.loops import OPTIONS, inlined
from llama_edu.matmul.jit.machine_code import njit


@inlined
def _start(x, t, at, bias):
    """What the sums of one group start from: the middle of the codes times the sum of x."""
    return spread_ints_16(int_at(x, t, at) * bias)


@inlined
def _scaled(dots, x, t, at, scales, sums):
    """Sums, and those of one group times the scales of both sides."""
    return fma(float_times(as_floats(dots), spread_16(float_at(x, t, at))), scales, sums)


@njit(**OPTIONS)
def multiply(packed, scales, minimums, x, group, bias, out, start):
    """Positions times repacked rows.

    Args:
        packed, scales, minimums: as repack.py fills them.
        x: (T, row_bytes) uint8 from rounding.py, T at least 4.
        group: numbers that share a scale, 16 or 32. bias: the middle of the codes.
        out: (T, rows) float32. start: the row that packed begins with.
    """
    n = packed.shape[1] // 16
    n_groups = n // group
    scale_at, sum_at, total_at = 2 * n, 2 * n + 4 * n_groups, 2 * n + 8 * n_groups
    for p in range(len(packed)):
        r = min(start + 16 * p, out.shape[1] - 16)
        for first in range(0, len(x), 4):
            t = min(first, len(x) - 4)
            sums, sums_1, sums_2, sums_3 = (
                no_floats_16(), no_floats_16(), no_floats_16(), no_floats_16(),
            )  # fmt: skip
            for g in range(n_groups):
                dots = _start(x, t, total_at + 4 * g, bias)
                dots_1 = _start(x, t + 1, total_at + 4 * g, bias)
                dots_2 = _start(x, t + 2, total_at + 4 * g, bias)
                dots_3 = _start(x, t + 3, total_at + 4 * g, bias)
                for part in range(g * group, (g + 1) * group, 16):
                    for c in range(part, part + 16, 4):
                        codes = bytes_64(packed, p, 16 * c)
                        dots = dot(dots, codes, four_times_16(x, t, c))
                        dots_1 = dot(dots_1, codes, four_times_16(x, t + 1, c))
                        dots_2 = dot(dots_2, codes, four_times_16(x, t + 2, c))
                        dots_3 = dot(dots_3, codes, four_times_16(x, t + 3, c))
                by = floats_16(scales, p, 64 * g)
                sums = _scaled(dots, x, t, scale_at + 4 * g, by, sums)
                sums_1 = _scaled(dots_1, x, t + 1, scale_at + 4 * g, by, sums_1)
                sums_2 = _scaled(dots_2, x, t + 2, scale_at + 4 * g, by, sums_2)
                sums_3 = _scaled(dots_3, x, t + 3, scale_at + 4 * g, by, sums_3)
                if minimums.shape[1]:
                    low = floats_16(minimums, p, 64 * g)
                    at = sum_at + 4 * g
                    sums = fma(low, spread_16(float_at(x, t, at)), sums)
                    sums_1 = fma(low, spread_16(float_at(x, t + 1, at)), sums_1)
                    sums_2 = fma(low, spread_16(float_at(x, t + 2, at)), sums_2)
                    sums_3 = fma(low, spread_16(float_at(x, t + 3, at)), sums_3)
            store(out, t, 4 * r, sums)
            store(out, t + 1, 4 * r, sums_1)
            store(out, t + 2, 4 * r, sums_2)
            store(out, t + 3, 4 * r, sums_3)
