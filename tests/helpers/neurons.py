"""The feed-forward block one number at a time, with neurons left out: the slow twin of masks."""

from __future__ import annotations

import math

import numpy as np


def act(x: float, activation: str) -> float:
    return max(x, 0.0) if activation == "relu" else x / (1 + math.exp(-x))


def masked_by_hand(kept, seen):
    """A function for forward(ffn=): kept(layer, neuron, size, gate size) says which stay.

    seen[layer] gets one row of booleans for each position.
    """

    def ffn(model, layer, x, see):
        name = f"layers.{layer}"
        h = model.norm(x, f"{name}.ffn_norm")
        w_gate, w_up, w_down = (model.weights[f"{name}.{w}"] for w in ("w_gate", "w_up", "w_down"))
        out = np.zeros_like(x)
        for t, row in enumerate(h):
            mask = []
            for neuron in range(model.config.hidden_dim):
                gate = act(float(w_gate[neuron] @ row), model.config.activation)
                size = gate * float(w_up[neuron] @ row)
                mask.append(kept(layer, neuron, abs(size), abs(gate)))
                if mask[-1]:
                    out[t] += np.float32(size) * w_down[:, neuron]
            seen[layer].append(mask)
        return out

    return ffn


def sizes_of(model, texts):
    """|act(gate) * up| and |act(gate)| of whole texts: two (n_layers, T, hidden_dim) float64."""
    from llama_edu.transformer.cache import KVCache
    from llama_edu.transformer.model import forward

    layers = range(model.config.n_layers)
    sizes, gates = [[[] for _ in layers] for _ in range(2)]

    def keep(layer, neuron, size, gate):
        sizes[layer].append(size)
        gates[layer].append(gate)
        return True

    for text in texts:
        ffn = masked_by_hand(keep, [[] for _ in layers])
        forward(model, text, KVCache(model.config), ffn=ffn)
    shape = (len(layers), -1, model.config.hidden_dim)
    return np.array(sizes).reshape(shape), np.array(gates).reshape(shape)
