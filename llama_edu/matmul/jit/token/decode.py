"""One token through all layers, in the calling thread and in helpers."""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.loops import OPTIONS
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.memory import call_at, load_shared, store_shared, word
from llama_edu.matmul.jit.token import places as at

#: How often a helper looks for the next token before it leaves: some 300 microseconds.
_LOOKS = 300_000


@njit(**OPTIONS)
def compute(team, private, me, token):
    """Thread 0 announces a token, whose input is in `control`, and computes it.

    Others join each token after `token`, and leave when none comes for a while.

    Returns:
        The last token that was seen.
    """
    control = word(team, at.CONTROL)
    if me == 0:
        token = word(control, at.TOKEN) + 1
        store_shared(control, at.TOKEN, token)
        _layers(team, private, token)
        return token
    store_shared(control, at.FIRST_HELPER + me, np.int64(1))
    looks = 0
    while looks < _LOOKS:
        now = load_shared(control, at.TOKEN)
        if now == token:
            looks += 1
            continue
        token = now
        if word(control, at.WANTED) <= me:
            break
        _layers(team, private, token)
        looks = 0
    store_shared(control, at.FIRST_HELPER + me, np.int64(0))
    return token


@njit(**OPTIONS)
def _layers(team, private, token):
    """The forward pass of one position, by the functions of functions.py."""
    n_layers, per_layer = word(team, at.N_LAYERS), word(team, at.PER_LAYER) * at.MATRIX
    norms, mixed, zero = word(team, at.NORMS), word(word(team, at.SHARED), at.MIXED), np.int64(0)
    weights, step = word(team, at.MATRICES), zero
    mark = token * (word(team, at.STEPS_OF_LAYER) * n_layers + 1)
    queries, attention = word(team, at.QUERIES), word(team, at.ATTENTION)
    added, feed_forward = word(team, at.ADDED), word(team, at.FEED_FORWARD)
    for layer in range(n_layers):
        call_at(queries, team, private, token, weights, word(norms, 0), step, mark, zero, zero)
        call_at(attention, team, private, token, layer, step + 1, zero, zero, zero, zero)
        wo = weights + at.WO * at.MATRIX
        call_at(added, team, private, token, wo, mixed, zero, step + 2, mark + 2, zero)
        norm, third = word(norms, 1), step + 3
        call_at(feed_forward, team, private, token, weights, norm, third, mark + 3, zero, zero)
        weights += per_layer
        norms += 16
        step += word(team, at.STEPS_OF_LAYER)
        mark += word(team, at.STEPS_OF_LAYER)
    logits = word(team, at.LOGITS_OF)
    call_at(logits, team, private, token, weights, word(norms, 0), step, mark, zero, zero)
