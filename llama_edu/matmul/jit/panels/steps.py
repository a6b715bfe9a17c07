"""The steps of many positions besides products, compiled: fast siblings of transformer/kernels.py.

Attention has a panel of queries (positions.py) times a row of keys at a time. So each lane belongs
to one query, and the softmax over keys goes down the rows of scores, never across lanes.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.int8.lanes import float_times, fma, total
from llama_edu.matmul.jit.int8.vectors import float_at, floats_16, no_floats_16, spread_16, store
from llama_edu.matmul.jit.loops import OPTIONS, inlined
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.panels.lanes import (
    WIDE,
    exp,
    floats,
    hidden_before,
    larger,
    less,
    no_floats_wide,
    over,
    plus,
    spread,
    store_four,
)
from llama_edu.matmul.jit.panels.positions import lay_side_by_side

#: Numbers of the shortest position that these can work on.
SHORTEST = 16


@inlined
def _scores_of_four(q, keys, s, scores):
    """Rows s to s + 3 of scores: four keys times the panel of queries."""
    a = b = c = d = no_floats_wide()
    for k in range(keys.shape[1]):
        there = floats(a, q, k, 0)
        a = fma(spread(a, float_at(keys, s, 4 * k)), there, a)
        b = fma(spread(b, float_at(keys, s + 1, 4 * k)), there, b)
        c = fma(spread(c, float_at(keys, s + 2, 4 * k)), there, c)
        d = fma(spread(d, float_at(keys, s + 3, 4 * k)), there, d)
    store(scores, s, 0, a)
    store(scores, s + 1, 0, b)
    store(scores, s + 2, 0, c)
    store(scores, s + 3, 0, d)


@inlined
def _softmax(scores, n, n_before, scale):
    """Scores of n keys become weights that are yet to be divided by what this returns.

    Args:
        n_before: keys that all queries of the panel see; each next one is hidden from one more.
    """
    most = spread(no_floats_wide(), np.float32(-np.inf))
    for s in range(n):
        there = float_times(floats(most, scores, s, 0), spread(most, scale))
        if s > n_before:
            there = hidden_before(there, s - n_before)
        store(scores, s, 0, there)
        most = larger(there, most)
    sums = no_floats_wide()
    for s in range(n):
        there = exp(less(floats(sums, scores, s, 0), most))
        store(scores, s, 0, there)
        sums = plus(sums, there)
    return sums


@njit(**OPTIONS)
def attend(q, keys, values, head, scale, out):
    """kernels.attention of one head.

    Args:
        q: (T, n_heads * head_dim) float32. keys, values: (S, head_dim) float32, S at least 4.
        scale: what scores are multiplied by.
        out: (T or more, n_heads * head_dim) float32, rows a multiple of lanes.WIDE.
    """
    T, size = len(q), keys.shape[1]
    column = head * size
    panel = np.empty((size, WIDE), np.float32)
    scores = np.empty((len(keys), WIDE), np.float32)
    for t in range(0, T, WIDE):
        stop = min(t + WIDE, T)
        lay_side_by_side(q[t:stop], column, column + size, panel, 0)
        n_before = len(keys) - T + t
        n = max(len(keys) - T + stop, 4)
        for s in range(0, n, 4):
            _scores_of_four(panel, keys, min(s, n - 4), scores)
        sums = _softmax(scores, n, n_before, scale)
        by = over(spread(sums, np.float32(1)), sums)
        for k in range(0, size, 4):
            a = b = c = d = no_floats_wide()
            for s in range(n):
                there = floats(a, scores, s, 0)
                a = fma(spread(a, float_at(values, s, 4 * k)), there, a)
                b = fma(spread(b, float_at(values, s, 4 * k + 4)), there, b)
                c = fma(spread(c, float_at(values, s, 4 * k + 8)), there, c)
                d = fma(spread(d, float_at(values, s, 4 * k + 12)), there, d)
            store_four(
                out, t, 4 * (column + k), float_times(a, by), float_times(b, by),
                float_times(c, by), float_times(d, by),
            )  # fmt: skip


@njit(**OPTIONS)
def swiglu(gate, up, out):
    """kernels.swiglu; (1, n) float32 each, n at least 16."""
    n = gate.shape[1]
    one, floor = spread_16(np.float32(1)), spread_16(np.float32(-87))
    for i in range(0, n, 16):
        at = 4 * min(i, n - 16)
        g = larger(floats_16(gate, 0, at), floor)
        y = plus(exp(less(no_floats_16(), g)), one)
        store(out, 0, at, float_times(over(g, y), floats_16(up, 0, at)))


@njit(**OPTIONS)
def rms_norm(x, weight, eps, out):
    """kernels.rms_norm: x and out (T, n) float32, weight (1, n), n at least 16."""
    n = x.shape[1]
    whole = n - n % 16
    for t in range(len(x)):
        squares, rest = no_floats_16(), np.float32(0)
        for i in range(0, whole, 16):
            there = floats_16(x, t, 4 * i)
            squares = fma(there, there, squares)
        for i in range(whole, n):
            rest += x[t, i] * x[t, i]
        size = np.sqrt((total(squares) + rest) / np.float32(n) + eps)
        for i in range(0, n, 16):
            at = 4 * min(i, n - 16)
            scaled = over(floats_16(x, t, at), spread_16(size))
            store(out, t, at, float_times(scaled, floats_16(weight, 0, at)))
