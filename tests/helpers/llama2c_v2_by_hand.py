"""Files of llama2.c version 2, written with struct."""

from __future__ import annotations

import struct

import numpy as np

MATRICES = ("wq", "wk", "wv", "wo", "w_gate", "w_down", "w_up")


def llama2c_v2(
    config, weights: dict[str, np.ndarray], group_size: int
) -> tuple[bytes, dict[str, np.ndarray]]:
    """The bytes of a file, and the float32 weights that it stands for."""
    tied = "output" not in weights
    data = b"24ka" + struct.pack(
        "<8i", 2, config.dim, config.hidden_dim, config.n_layers, config.n_heads,
        config.n_kv_heads, config.vocab_size, config.max_seq_len,
    )  # fmt: skip
    data += struct.pack("<Bi", tied, group_size)  # the group size lies at byte 37, unaligned
    data += bytes(256 - len(data))
    layers = range(config.n_layers)
    norms = [f"layers.{i}.{kind}" for kind in ("attention_norm", "ffn_norm") for i in layers]
    for name in [*norms, "final_norm"]:
        data += weights[name].tobytes()
    names = ["token_embedding", *(f"layers.{i}.{kind}" for kind in MATRICES for i in layers)]
    meaning = dict(weights)
    for name in names if tied else [*names, "output"]:
        numbers, scales, meaning[name] = rounded(weights[name], group_size)
        data += numbers.tobytes() + scales.tobytes()
    return data, meaning


def rounded(matrix: np.ndarray, group_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """int8 numbers, scales, and what they mean: q = round(w / (largest / 127)), by groups."""
    numbers, scales, meaning = [], [], []
    flat = matrix.reshape(-1)
    for start in range(0, flat.size, group_size):
        group = flat[start : start + group_size]
        scale = np.float32(np.abs(group).max() / np.float32(127))
        q = np.rint(group / scale).astype(np.int8)
        numbers.append(q)
        scales.append(scale)
        meaning.append(q.astype(np.float32) * scale)
    numbers, meaning = np.concatenate(numbers), np.concatenate(meaning)
    return numbers, np.float32(scales), meaning.reshape(matrix.shape)
