"""One token through all layers. Every thread runs `_layers`, and takes pieces of each step.

Results of a step go to shared buffers. What a thread needs for itself, such as x after a norm, it
computes for itself. A mark numbers the x of each step of each token, so that nothing stale is used.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.loops import OPTIONS
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.memory import float_rows_at, floats_at, load_shared, store_shared
from llama_edu.matmul.jit.token import places as at
from llama_edu.matmul.jit.token.feed_forward import added, feed_forward, mixture
from llama_edu.matmul.jit.token.pieces import give_back, pieces_of, rows_of, take, wait
from llama_edu.matmul.jit.token.places import Run
from llama_edu.matmul.jit.token.rows import multiply, normed
from llama_edu.matmul.jit.token.steps import attend, turned

#: How often a helper looks for the next token before it leaves: some 300 microseconds.
_LOOKS = 300_000


@njit(**OPTIONS)
def lead(sizes, matrices, norms, eps, control, shared, private):
    """The calling thread: announces a token, whose input is in `control`, and computes it."""
    token = control[at.TOKEN] + 1
    store_shared(control, at.TOKEN, token)
    _layers(Run(sizes, matrices, norms, eps, control, shared, private, token))


@njit(**OPTIONS)
def help_out(sizes, matrices, norms, eps, control, shared, private, me, token):
    """A helper: joins each token after `token`, and leaves when none comes for a while.

    Returns:
        The last token that it saw.
    """
    store_shared(control, at.FIRST_HELPER + me, np.int64(1))
    looks = 0
    while looks < _LOOKS:
        now = load_shared(control, at.TOKEN)
        if now == token:
            looks += 1
            continue
        token = now
        if control[at.WANTED] <= me:
            break
        _layers(Run(sizes, matrices, norms, eps, control, shared, private, token))
        looks = 0
    store_shared(control, at.FIRST_HELPER + me, np.int64(0))
    return token


@njit(**OPTIONS)
def _layers(run):
    """The forward pass of one position."""
    sizes, shared = run.sizes, run.shared
    n_layers, per_layer = sizes[at.N_LAYERS], sizes[at.PER_LAYER]
    n_steps = sizes[at.STEPS_OF_LAYER] * n_layers + 1
    for layer in range(n_layers):
        weights = run.matrices[layer * per_layer : (layer + 1) * per_layer]
        step = sizes[at.STEPS_OF_LAYER] * layer
        mark = run.token * n_steps + step
        _queries_keys_values(run, weights, run.norms[2 * layer], step, mark)
        _attention(run, layer, step + 1)
        added(run, weights[at.WO], shared[at.MIXED], np.float32(1), step + 2, mark + 2)
        if sizes[at.N_EXPERTS]:
            mixture(run, weights, run.norms[2 * layer + 1], step + 3, mark + 3)
        else:
            feed_forward(run, weights, run.norms[2 * layer + 1], step + 3, mark + 3)
    last = (run.token + 1) * n_steps - 1
    _logits(run, run.matrices[n_layers * per_layer], run.norms[2 * n_layers], n_steps - 1, last)


@njit(**OPTIONS)
def _queries_keys_values(run, weights, norm, step, mark):
    """q, k and v: three matrices, one input, and one row of pieces."""
    q, k, v = weights[at.WQ], weights[at.WK], weights[at.WV]
    threads = run.sizes[at.THREADS]
    to_k = pieces_of(q, threads)
    to_v = to_k + pieces_of(k, threads)
    n_pieces = to_v + pieces_of(v, threads)
    while True:
        piece = take(run.control, step, run.token, n_pieces)
        if piece < 0:
            break
        h = normed(run, norm, mark)
        if piece < to_k:
            matrix, out = q, run.shared[at.Q]
        elif piece < to_v:
            matrix, out, piece = k, run.shared[at.K], piece - to_k
        else:
            matrix, out, piece = v, run.shared[at.V], piece - to_v
        start, stop = rows_of(matrix, threads, piece)
        multiply(matrix, run.private, mark, h, out, start, stop)
        give_back(run.control, step)
    wait(run.control, step, run.token, n_pieces)


@njit(**OPTIONS)
def _attention(run, layer, step):
    """A piece is one head. Heads that share a key all store it, and all the same numbers."""
    sizes, control, shared = run.sizes, run.control, run.shared
    n_heads, n_kv_heads, size = sizes[at.N_HEADS], sizes[at.N_KV_HEADS], sizes[at.HEAD_DIM]
    position, halves = control[at.POSITION], sizes[at.HALVES]
    while True:
        head = take(control, step, run.token, n_heads)
        if head < 0:
            break
        kv_head = head // (n_heads // n_kv_heads)
        start = (layer * n_kv_heads + kv_head) * control[at.CAPACITY] * size * 4
        keys = float_rows_at(control[at.KEYS] + start, position + 1, size)
        values = float_rows_at(control[at.VALUES] + start, position + 1, size)
        rotations = floats_at(control[at.ROTATIONS], size)
        k = floats_at(shared[at.K] + kv_head * size * 4, size)
        turned(k, rotations, halves, keys[position])
        values[position] = floats_at(shared[at.V] + kv_head * size * 4, size)
        q = floats_at(shared[at.Q] + head * size * 4, size)
        turned(q, rotations, halves, q)
        scores = floats_at(run.private[at.SCORES], position + 1)
        attend(q, keys, values, scores, floats_at(shared[at.MIXED] + head * size * 4, size))
        give_back(control, step)
    wait(control, step, run.token, n_heads)


@njit(**OPTIONS)
def _logits(run, matrix, norm, step, mark):
    """The scores of all tokens that may follow."""
    threads = run.sizes[at.THREADS]
    n_pieces = pieces_of(matrix, threads)
    while True:
        piece = take(run.control, step, run.token, n_pieces)
        if piece < 0:
            break
        h = normed(run, norm, mark)
        start, stop = rows_of(matrix, threads, piece)
        multiply(matrix, run.private, mark, h, run.control[at.LOGITS], start, stop)
        give_back(run.control, step)
    wait(run.control, step, run.token, n_pieces)
