"""The definition of the model in float64, straight from the formulas: slow, short, and the judge.

It shares no line with transformer/kernels.py, and knows no cache, no threads and no stored types:
one text, all its positions at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from llama_edu.config import ModelConfig, output_name
from llama_edu.quants.blocks import dequantize
from llama_edu.transformer.model import Model


def steps(
    model: Model, tokens: Sequence[int], dtype: Any = np.float64
) -> Iterator[tuple[str, np.ndarray]]:
    """Every step of the model, by name (see transformer/tap.py), in the order of the computation.

    Args:
        model: its weights, sizes and RoPE frequencies are used; its methods are not.
        dtype: float64 for the truth; float32 shows what rounding alone does to it.
    """
    c: ModelConfig = model.config
    T, hd = len(tokens), c.head_dim

    def w(name: str) -> np.ndarray:
        return dequantize(model.weights[name]).astype(dtype)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        mean_square = (x**2).mean(axis=-1, keepdims=True)
        return x / np.sqrt(mean_square + dtype(c.norm_eps)) * w(name)

    angles = np.outer(np.arange(T), model.frequencies)
    cos, sin = (f(angles).astype(dtype)[:, np.newaxis, :] for f in (np.cos, np.sin))
    pairs = np.arange(hd).reshape(-1, 2) if c.rope_pairing == "interleaved" else (
        np.arange(hd).reshape(2, -1).T
    )  # fmt: skip
    first, second = pairs[:, 0], pairs[:, 1]

    def rope(x: np.ndarray) -> np.ndarray:
        turned = np.empty_like(x)
        turned[..., first] = x[..., first] * cos - x[..., second] * sin
        turned[..., second] = x[..., first] * sin + x[..., second] * cos
        return turned

    future = np.arange(T)[np.newaxis, :] > np.arange(T)[:, np.newaxis]
    serves = np.arange(c.n_heads) // (c.n_heads // c.n_kv_heads)  # query head -> key/value head

    table = model.weights["token_embedding"]
    x = dequantize(table[np.asarray(tokens)]).astype(dtype)
    yield "embedding", x
    for i in range(c.n_layers):
        layer = f"layers.{i}."
        h = norm(x, layer + "attention_norm")
        yield layer + "attention_norm", h
        q = (h @ w(layer + "wq").T).reshape(T, c.n_heads, hd)
        k = (h @ w(layer + "wk").T).reshape(T, c.n_kv_heads, hd)
        v = (h @ w(layer + "wv").T).reshape(T, c.n_kv_heads, hd)
        yield from ((layer + "q", q), (layer + "k", k), (layer + "v", v))
        q, k = rope(q), rope(k)
        yield from ((layer + "q_rope", q), (layer + "k_rope", k))
        scores = np.einsum("thd,shd->hts", q, k[:, serves]) / dtype(np.sqrt(hd))
        scores[:, future] = -np.inf
        yield layer + "scores", scores
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = powers / powers.sum(axis=-1, keepdims=True)
        yield layer + "weights", weights
        mixed = np.einsum("hts,shd->thd", weights, v[:, serves]).reshape(T, c.q_dim)
        yield layer + "mixed", mixed
        out = mixed @ w(layer + "wo").T
        yield layer + "wo", out
        x = x + out
        yield layer + "attended", x
        h = norm(x, layer + "ffn_norm")
        yield layer + "ffn_norm", h
        gate, up = h @ w(layer + "w_gate").T, h @ w(layer + "w_up").T
        yield from ((layer + "gate", gate), (layer + "up", up))
        if c.activation == "relu":
            activated = np.maximum(gate, 0) * up
        else:
            with np.errstate(over="ignore"):  # exp(1000) is infinite and its silu 0
                activated = gate / (1 + np.exp(-gate)) * up
        yield layer + "activated", activated
        out = activated @ w(layer + "w_down").T
        yield layer + "down", out
        x = x + out
        yield layer + "out", x
    x = norm(x, "final_norm")
    yield "final_norm", x
    yield "logits", x @ w(output_name(model.weights)).T
