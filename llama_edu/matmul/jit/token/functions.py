"""The steps of a token as C functions of nine int64: (team, private, token, ...).

Every thread calls each of them, and takes pieces. Results go to shared buffers; what a thread needs
for itself, such as x after a norm, it computes for itself. They call each other by the addresses in
the team's table, so that each is compiled by itself, and only if a model needs it.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.loops import OPTIONS
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.memory import call_at, floats_at, set_word, word
from llama_edu.matmul.jit.token import places as at
from llama_edu.matmul.jit.token.pieces import give_back, pieces_of, rows_of, take, wait
from llama_edu.matmul.jit.token.rows import multiply, normed
from llama_edu.matmul.jit.token.steps import exp


def queries_keys_values(team, private, token, weights, norm, step, mark, _a, _b):
    """q, k and v: three matrices, one input, and one row of pieces."""
    control, shared, threads = word(team, at.CONTROL), word(team, at.SHARED), word(team, at.THREADS)
    k, v = weights + at.WK * at.MATRIX, weights + at.WV * at.MATRIX
    to_k = pieces_of(weights, threads)
    to_v = to_k + pieces_of(k, threads)
    n_pieces = to_v + pieces_of(v, threads)
    while True:
        piece = take(control, step, token, n_pieces)
        if piece < 0:
            break
        h = normed(team, private, norm, mark)
        matrix, out = weights, word(shared, at.Q)
        if piece >= to_v:
            matrix, out, piece = v, word(shared, at.V), piece - to_v
        elif piece >= to_k:
            matrix, out, piece = k, word(shared, at.K), piece - to_k
        start, stop = rows_of(matrix, threads, piece)
        multiply(matrix, private, mark, h, out, start, stop)
        give_back(control, step)
    wait(control, step, token, n_pieces)


def attention(team, private, token, layer, step, _a, _b, _c, _d):
    """A piece is one head."""
    control, n_heads, zero = word(team, at.CONTROL), word(team, at.N_HEADS), np.int64(0)
    while True:
        head = take(control, step, token, n_heads)
        if head < 0:
            break
        call_at(word(team, at.HEAD), team, private, layer, head, zero, zero, zero, zero, zero)
        give_back(control, step)
    wait(control, step, token, n_heads)


def added(team, private, token, matrix, x, share, step, mark, _a):
    """The product of x with one matrix, times a share, added to the position's vector.

    share: the address of the share, or 0 for 1.
    """
    control, threads = word(team, at.CONTROL), word(team, at.THREADS)
    n_pieces, rows = pieces_of(matrix, threads), word(private, at.ROWS_A)
    while True:
        piece = take(control, step, token, n_pieces)
        if piece < 0:
            break
        start, stop = rows_of(matrix, threads, piece)
        multiply(matrix, private, mark, x, rows, start, stop)
        n, factor = stop - start, np.float32(1)
        if share:
            factor = floats_at(share, 1)[0]
        to = floats_at(word(word(team, at.SHARED), at.X) + 4 * start, n)
        found = floats_at(rows + 4 * start, n)
        for i in range(n):
            to[i] += factor * found[i]
        give_back(control, step)
    wait(control, step, token, n_pieces)


@njit(**OPTIONS)
def _activated(team, private, gate, h, piece, out, mark):
    """Some numbers of one network's gated activation; up stands below gate in the table."""
    start, stop = rows_of(gate, word(team, at.THREADS), piece)
    a, b = word(private, at.ROWS_A), word(private, at.ROWS_B)
    multiply(gate, private, mark, h, a, start, stop)
    multiply(gate + at.MATRIX, private, mark, h, b, start, stop)
    shift, n, relu, zero = 4 * start, stop - start, word(team, at.RELU), np.int64(0)
    call_at(word(team, at.GATE), a + shift, b + shift, n, relu, out + shift, zero, zero, zero, zero)


def feed_forward(team, private, token, weights, norm, step, mark, _a, _b):
    """Gate and up, then down; a piece of the first step is the same rows of both matrices."""
    control, out = word(team, at.CONTROL), word(word(team, at.SHARED), at.ACTIVATED)
    gate = weights + at.GATES * at.MATRIX
    n_pieces, zero = pieces_of(gate, word(team, at.THREADS)), np.int64(0)
    while True:
        piece = take(control, step, token, n_pieces)
        if piece < 0:
            break
        h = normed(team, private, norm, mark)
        _activated(team, private, gate, h, piece, out, mark)
        give_back(control, step)
    wait(control, step, token, n_pieces)
    down = weights + at.DOWNS * at.MATRIX
    call_at(word(team, at.ADDED), team, private, token, down, out, zero, step + 1, mark + 1, zero)


def mixture(team, private, token, weights, norm, step, mark, _a, _b):
    """The same for each chosen expert; every thread makes the choice, and all make the same."""
    control, shared = word(team, at.CONTROL), word(team, at.SHARED)
    n_used, hidden_bytes = word(team, at.N_USED), 4 * word(team, at.HIDDEN_DIM)
    chosen, shares = word(shared, at.CHOSEN), word(shared, at.SHARES)
    first = weights + at.FIRST_EXPERT * at.MATRIX
    per_expert = pieces_of(first, word(team, at.THREADS))
    n_pieces = per_expert * n_used
    is_chosen = False
    while True:
        piece = take(control, step, token, n_pieces)
        if piece < 0:
            break
        h = normed(team, private, norm, mark)
        if not is_chosen:
            _choose(team, private, weights + at.ROUTER * at.MATRIX, h, mark)
            is_chosen = True
        rank = piece // per_expert
        gate = first + 3 * word(chosen, rank) * at.MATRIX
        out = word(shared, at.ACTIVATED) + rank * hidden_bytes
        _activated(team, private, gate, h, piece % per_expert, out, mark)
        give_back(control, step)
    wait(control, step, token, n_pieces)
    for rank in range(n_used):
        down = first + (3 * word(chosen, rank) + 2) * at.MATRIX
        x, share = word(shared, at.ACTIVATED) + rank * hidden_bytes, shares + 4 * rank
        next_step, next_mark = step + 1 + rank, mark + 1 + rank
        call_at(
            word(team, at.ADDED), team, private, token, down, x, share, next_step, next_mark,
            np.int64(0),
        )  # fmt: skip


@njit(**OPTIONS)
def _choose(team, private, router, h, mark):
    """The likeliest experts in ascending order; of equals the first. NOT_FINITE if none can be."""
    shared, n_used, n = word(team, at.SHARED), word(team, at.N_USED), word(router, at.ROWS)
    p, shares = word(private, at.PROBABILITIES), floats_at(word(shared, at.SHARES), n_used)
    multiply(router, private, mark, h, p, np.int64(0), n)
    p = floats_at(p, n)
    most = p[0]
    for e in range(n):
        most = max(most, p[e])
        if not np.isfinite(p[e]):
            set_word(word(team, at.CONTROL), at.NOT_FINITE, np.int64(1))
    total = np.float32(0)
    for e in range(n):
        p[e] = exp(p[e] - most)
    for e in range(n):
        if _better_than(p, e) < n_used:
            total += p[e]
    rank = 0
    for e in range(n):
        if _better_than(p, e) < n_used and rank < n_used:
            set_word(word(shared, at.CHOSEN), rank, e)
            shares[rank] = p[e] / total  # once: another thread writes the same
            rank += 1


@njit(**OPTIONS)
def _better_than(p, e):
    """How many experts come before expert e; with NaN any number."""
    better = 0
    for other in range(len(p)):
        better += p[other] > p[e] or (p[other] == p[e] and other < e)
    return better


def logits(team, private, token, matrix, norm, step, mark, _a, _b):
    """The scores of all tokens that may follow."""
    control, threads = word(team, at.CONTROL), word(team, at.THREADS)
    n_pieces = pieces_of(matrix, threads)
    while True:
        piece = take(control, step, token, n_pieces)
        if piece < 0:
            break
        h = normed(team, private, norm, mark)
        start, stop = rows_of(matrix, threads, piece)
        multiply(matrix, private, mark, h, word(control, at.LOGITS), start, stop)
        give_back(control, step)
    wait(control, step, token, n_pieces)
