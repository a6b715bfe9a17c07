"""The small steps of one position, as transformer/kernels.py defines them, on float32 in memory."""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.loops import ANY_ORDER, OPTIONS, as_float, inlined
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.memory import float_rows_at, floats_at, word
from llama_edu.matmul.jit.token import places as at

#: Adding and taking it away again rounds a float32 to an integer.
_ROUNDS = np.float32(12582912.0)

#: Below this, exp(x) counts as exp of this: 1.6e-38.
_FLOOR = np.float32(-87.0)


@inlined
def exp(x):
    """E ** x for x of at most 88, within 2e-7; loops over it become vectors, unlike np.exp."""
    x = _FLOOR if x < _FLOOR else x  # NaN stays
    whole = np.float32(x * np.float32(1.4426950408889634) + _ROUNDS) - _ROUNDS
    rest = x - whole * np.float32(0.693359375)
    rest = rest - whole * np.float32(-2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * rest + np.float32(1.3981999507e-3)
    p = p * rest + np.float32(8.3334519073e-3)
    p = p * rest + np.float32(4.1665795894e-2)
    p = p * rest + np.float32(1.6666665459e-1)
    p = p * rest + np.float32(5.0000001201e-1)
    p = p * rest * rest + rest + np.float32(1)
    return p * as_float(np.int32(np.int32(np.int32(whole) + np.int32(127)) << np.int32(23)))


@njit(**ANY_ORDER)
def rms_norm(x, weight, eps, out):
    """kernels.rms_norm of one position."""
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i] * x[i]
    scale = np.float32(1) / np.sqrt(total / np.float32(len(x)) + eps)
    for i in range(len(x)):
        out[i] = x[i] * scale * weight[i]


@inlined
def gated(gate, up, relu, out):
    """kernels.swiglu, or kernels.reglu."""
    if relu:
        for i in range(len(out)):
            g = gate[i]
            out[i] = (np.float32(0) if g < np.float32(0) else g) * up[i]
    else:
        for i in range(len(out)):
            g = _FLOOR if gate[i] < _FLOOR else gate[i]
            out[i] = g / (np.float32(1) + exp(-g)) * up[i]


@inlined
def turned(x, rotations, halves, out):
    """RoPE of one head; rotations (head_dim,) are cosines and sines in turn. out may be x."""
    pairs = len(x) // 2
    for i in range(pairs):
        first, second = (i, pairs + i) if halves else (2 * i, 2 * i + 1)
        a, b = x[first], x[second]
        cosine, sine = rotations[2 * i], rotations[2 * i + 1]
        out[first] = a * cosine - b * sine
        out[second] = a * sine + b * cosine


@inlined
def attend(q, keys, values, scores, out):
    """What one head gathers: q (head_dim,), keys and values (S, head_dim), scores (S,)."""
    most = _scores(q, keys, scores)
    _exp_of_difference(scores, most)
    _average(scores, values, np.float32(1) / _sum(scores), out)


@njit(**ANY_ORDER)
def _scores(q, keys, scores):
    """How well q fits each key; the largest score."""
    n, size = keys.shape
    scale = np.float32(1) / np.sqrt(np.float32(size))
    most = np.float32(-np.inf)
    for s in range(n):
        total = np.float32(0)
        for d in range(size):
            total += q[d] * keys[s, d]
        scores[s] = total * scale
        most = max(most, scores[s])
    return most


@njit(**ANY_ORDER)
def _sum(x):
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i]
    return total


@njit(**OPTIONS)
def _exp_of_difference(scores, most):
    for s in range(len(scores)):
        scores[s] = exp(scores[s] - most)


@inlined
def _average(weights, values, scale, out):
    """Sum of weights * rows of values, times a scale; four rows in each pass over `out`."""
    n, size = values.shape
    whole = n // 4 * 4
    out[:] = 0
    for s in range(0, whole, 4):
        a, b, c, d = weights[s], weights[s + 1], weights[s + 2], weights[s + 3]
        first, second, third, fourth = values[s], values[s + 1], values[s + 2], values[s + 3]
        for i in range(size):
            out[i] += a * first[i] + b * second[i] + (c * third[i] + d * fourth[i])
    for s in range(whole, n):
        a, first = weights[s], values[s]
        for i in range(size):
            out[i] += a * first[i]
    for i in range(size):
        out[i] *= scale


# --- the same as C functions of nine int64, addresses and counts -------------------------------


def norm_at(x, weight, n, eps_bits, out, _a, _b, _c, _d):
    """rms_norm; eps as the bits of a float32."""
    rms_norm(floats_at(x, n), floats_at(weight, n), as_float(np.int32(eps_bits)), floats_at(out, n))


def gated_at(gate, up, n, relu, out, _a, _b, _c, _d):
    """The gated activation of n numbers."""
    gated(floats_at(gate, n), floats_at(up, n), relu, floats_at(out, n))


def head_at(team, private, layer, head, _a, _b, _c, _d, _e):
    """One head of one layer: RoPE, the cache, attention.

    Heads that share a key all store it, and all the same numbers.
    """
    control, shared = word(team, at.CONTROL), word(team, at.SHARED)
    n_kv_heads, size, halves = (
        word(team, at.N_KV_HEADS),
        word(team, at.HEAD_DIM),
        word(team, at.HALVES),
    )
    position = word(control, at.POSITION)
    kv_head = head // (word(team, at.N_HEADS) // n_kv_heads)
    start = (layer * n_kv_heads + kv_head) * word(control, at.CAPACITY) * size * 4
    keys = float_rows_at(word(control, at.KEYS) + start, position + 1, size)
    values = float_rows_at(word(control, at.VALUES) + start, position + 1, size)
    rotations = floats_at(word(control, at.ROTATIONS), size)
    k = floats_at(word(shared, at.K) + kv_head * size * 4, size)
    v = floats_at(word(shared, at.V) + kv_head * size * 4, size)
    turned(k, rotations, halves, keys[position])
    for i in range(size):
        values[position, i] = v[i]
    q = floats_at(word(shared, at.Q) + head * size * 4, size)
    turned(q, rotations, halves, q)
    scores = floats_at(word(private, at.SCORES), position + 1)
    attend(q, keys, values, scores, floats_at(word(shared, at.MIXED) + head * size * 4, size))
