"""The slow twins: loops over Python floats (float64) that judge the fast code.

Nothing here is imported from the package but the sizes. Every function does one thing in the
order in which one would explain it.
"""

from __future__ import annotations

import math

import numpy as np

Vector = list[float]


def dot(a: Vector, b: Vector) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def matvec(matrix: list[Vector], x: Vector) -> Vector:
    return [dot(row, x) for row in matrix]


def rms_norm(x: Vector, weight: Vector, eps: float) -> Vector:
    mean_square = math.fsum(v * v for v in x) / len(x)
    return [v / math.sqrt(mean_square + eps) * w for v, w in zip(x, weight, strict=True)]


def softmax(x: Vector) -> Vector:
    top = max(x)
    powers = [math.exp(v - top) for v in x]
    return [p / math.fsum(powers) for p in powers]


def silu(x: float) -> float:
    return x / (1 + math.exp(-x)) if x > -700 else 0.0


def rope(head: Vector, position: int, theta: float, pairing: str) -> Vector:
    """Turn pair i of one head by position * theta ** (-2i / head_dim)."""
    n = len(head)
    out = list(head)
    for i in range(n // 2):
        angle = position * theta ** (-2 * i / n)
        first, second = (2 * i, 2 * i + 1) if pairing == "interleaved" else (i, i + n // 2)
        a, b = head[first], head[second]
        out[first] = a * math.cos(angle) - b * math.sin(angle)
        out[second] = a * math.sin(angle) + b * math.cos(angle)
    return out


def attention(queries, keys, values, first_position: int) -> list[Vector]:
    """queries[t][head], keys[s][kv_head], values[s][kv_head] -> one row of all heads for each t."""
    rows = []
    for t, heads in enumerate(queries):
        n_seen = first_position + t + 1
        row: Vector = []
        for h, q in enumerate(heads):
            g = h * len(keys[0]) // len(heads)  # the key/value head that serves this query head
            scores = [dot(q, keys[s][g]) / math.sqrt(len(q)) for s in range(n_seen)]
            mix = softmax(scores)
            row += [
                math.fsum(mix[s] * values[s][g][d] for s in range(n_seen)) for d in range(len(q))
            ]
        rows.append(row)
    return rows


def forward(config, weights: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """(T, vocab_size) float64 logits of a whole text, all positions at once, without a cache."""
    w = {name: np.asarray(array, np.float64).tolist() for name, array in weights.items()}
    hd = config.head_dim

    def heads(row: Vector) -> list[Vector]:
        return [row[i : i + hd] for i in range(0, len(row), hd)]

    def turned(row: Vector, position: int) -> list[Vector]:
        return [rope(h, position, config.rope_theta, config.rope_pairing) for h in heads(row)]

    x = [w["token_embedding"][token] for token in tokens]
    for i in range(config.n_layers):
        layer = f"layers.{i}."
        normed = [rms_norm(row, w[layer + "attention_norm"], config.norm_eps) for row in x]
        q = [turned(matvec(w[layer + "wq"], row), t) for t, row in enumerate(normed)]
        k = [turned(matvec(w[layer + "wk"], row), t) for t, row in enumerate(normed)]
        v = [heads(matvec(w[layer + "wv"], row)) for row in normed]
        mixed = attention(q, k, v, 0)
        x = [
            [a + b for a, b in zip(row, matvec(w[layer + "wo"], m), strict=True)]
            for row, m in zip(x, mixed, strict=True)
        ]
        normed = [rms_norm(row, w[layer + "ffn_norm"], config.norm_eps) for row in x]
        for t, row in enumerate(normed):
            gate, up = matvec(w[layer + "w_gate"], row), matvec(w[layer + "w_up"], row)
            act = silu if config.activation == "silu" else lambda g: max(g, 0.0)
            hidden = [act(g) * u for g, u in zip(gate, up, strict=True)]
            x[t] = [a + b for a, b in zip(x[t], matvec(w[layer + "w_down"], hidden), strict=True)]
    output = w.get("output", w["token_embedding"])
    return np.array([matvec(output, rms_norm(r, w["final_norm"], config.norm_eps)) for r in x])


def score_merge(text: str, scores: dict[str, float]) -> list[str]:
    """Join the neighbors whose joint text scores best, the leftmost of equals, until none is."""
    symbols = list(text)
    while True:
        best = None
        for i in range(len(symbols) - 1):
            score = scores.get(symbols[i] + symbols[i + 1])
            if score is not None and (best is None or score > best[0]):
                best = (score, i)
        if best is None:
            return symbols
        i = best[1]
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]


def repeat_penalty(logits: Vector, penalty: float, recent: list[int]) -> Vector:
    """Each recent token once: a negative score times the penalty, any other divided by it."""
    out = list(logits)
    for token in set(recent):
        out[token] = out[token] * penalty if out[token] < 0 else out[token] / penalty
    return out


def candidates(
    logits: Vector, temperature: float, top_k: int, top_p: float, min_p: float
) -> dict[int, float]:
    """Token -> probability after temperature, top-k, softmax, then top-p and min-p."""
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    order = order[:top_k] if top_k else order
    probabilities = softmax([logits[token] / temperature for token in order])
    kept, total = [], 0.0
    for p in probabilities:
        if kept and (total >= top_p or p < min_p * probabilities[0]):
            break
        kept.append(p)
        total += p
    return {token: p / math.fsum(kept) for token, p in zip(order, kept, strict=False)}
