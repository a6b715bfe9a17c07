"""The second block of a layer for one position: one network, or the experts that a router chose.

transformer/model.py and transformer/experts.py define both.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.loops import OPTIONS
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.memory import floats_at, words_at
from llama_edu.matmul.jit.token import places as at
from llama_edu.matmul.jit.token.pieces import give_back, pieces_of, rows_of, take, wait
from llama_edu.matmul.jit.token.rows import multiply, normed
from llama_edu.matmul.jit.token.steps import exp, gated


@njit(**OPTIONS)
def feed_forward(run, weights, norm, step, mark):
    """Gate and up, then down; a piece of the first step is the same rows of both matrices."""
    gate, up = weights[at.GATE], weights[at.UP]
    n_pieces = pieces_of(gate, run.sizes[at.THREADS])
    while True:
        piece = take(run.control, step, run.token, n_pieces)
        if piece < 0:
            break
        h = normed(run, norm, mark)
        _activated(run, gate, up, h, piece, run.shared[at.ACTIVATED], mark)
        give_back(run.control, step)
    wait(run.control, step, run.token, n_pieces)
    added(run, weights[at.DOWN], run.shared[at.ACTIVATED], np.float32(1), step + 1, mark + 1)


@njit(**OPTIONS)
def mixture(run, weights, norm, step, mark):
    """The same for each chosen expert; every thread makes the choice, and all make the same."""
    n_used = run.sizes[at.N_USED]
    hidden_bytes = 4 * run.sizes[at.HIDDEN_DIM]
    chosen = words_at(run.shared[at.CHOSEN], n_used)
    shares = floats_at(run.shared[at.SHARES], n_used)
    per_expert = pieces_of(weights[at.FIRST_EXPERT], run.sizes[at.THREADS])
    n_pieces = per_expert * n_used
    is_chosen = False
    while True:
        piece = take(run.control, step, run.token, n_pieces)
        if piece < 0:
            break
        h = normed(run, norm, mark)
        if not is_chosen:
            _choose(run, weights[at.ROUTER], h, mark, chosen, shares)
            is_chosen = True
        rank = piece // per_expert
        gate = at.FIRST_EXPERT + 3 * chosen[rank]
        out = run.shared[at.ACTIVATED] + rank * hidden_bytes
        _activated(run, weights[gate], weights[gate + 1], h, piece % per_expert, out, mark)
        give_back(run.control, step)
    wait(run.control, step, run.token, n_pieces)
    for rank in range(n_used):
        down = weights[at.FIRST_EXPERT + 3 * chosen[rank] + 2]
        x, next_mark = run.shared[at.ACTIVATED] + rank * hidden_bytes, mark + 1 + rank
        added(run, down, x, shares[rank], step + 1 + rank, next_mark)


@njit(**OPTIONS)
def _activated(run, gate, up, h, piece, out, mark):
    """Some numbers of one network's gated activation."""
    start, stop = rows_of(gate, run.sizes[at.THREADS], piece)
    a, b = run.private[at.ROWS_A], run.private[at.ROWS_B]
    multiply(gate, run.private, mark, h, a, start, stop)
    multiply(up, run.private, mark, h, b, start, stop)
    n = stop - start
    parts = floats_at(a + 4 * start, n), floats_at(b + 4 * start, n)
    gated(parts[0], parts[1], run.sizes[at.RELU], floats_at(out + 4 * start, n))


@njit(**OPTIONS)
def _choose(run, router, h, mark, chosen, shares):
    """The likeliest experts in ascending order; of equals the first. NOT_FINITE if none can be."""
    n = router[at.ROWS]
    p = floats_at(run.private[at.PROBABILITIES], n)
    multiply(router, run.private, mark, h, run.private[at.PROBABILITIES], 0, n)
    most = p[0]
    for e in range(n):
        most = max(most, p[e])
        if not np.isfinite(p[e]):
            run.control[at.NOT_FINITE] = 1
    for e in range(n):
        p[e] = exp(p[e] - most)
    total = np.float32(0)
    for e in range(n):
        if _better_than(p, e) < len(chosen):
            total += p[e]
    rank = 0
    for e in range(n):
        if _better_than(p, e) < len(chosen) and rank < len(chosen):
            chosen[rank], shares[rank] = e, p[e] / total  # once: another thread writes the same
            rank += 1


@njit(**OPTIONS)
def _better_than(p, e):
    """How many experts come before expert e; with NaN any number."""
    better = 0
    for other in range(len(p)):
        better += p[other] > p[e] or (p[other] == p[e] and other < e)
    return better


@njit(**OPTIONS)
def added(run, matrix, x, share, step, mark):
    """The product of x with one matrix, times a share, added to the position's vector."""
    threads = run.sizes[at.THREADS]
    n_pieces = pieces_of(matrix, threads)
    rows = run.private[at.ROWS_A]
    while True:
        piece = take(run.control, step, run.token, n_pieces)
        if piece < 0:
            break
        start, stop = rows_of(matrix, threads, piece)
        multiply(matrix, run.private, mark, x, rows, start, stop)
        n = stop - start
        to, found = floats_at(run.shared[at.X] + 4 * start, n), floats_at(rows + 4 * start, n)
        for i in range(n):
            to[i] += share * found[i]
        give_back(run.control, step)
    wait(run.control, step, run.token, n_pieces)
