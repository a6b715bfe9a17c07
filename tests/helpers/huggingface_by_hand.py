"""Hugging Face files from our weights, row by row, independent of the package's own writer."""

from __future__ import annotations

import numpy as np

from llama_edu.files.names import from_ours


def halves_row_by_row(rows: np.ndarray, n_heads: int) -> np.ndarray:
    """Meta's row 2k + j of a head is Hugging Face's row j * head_dim / 2 + k."""
    out = np.empty_like(rows)
    head_dim = len(rows) // n_heads
    for head in range(n_heads):
        for k in range(head_dim // 2):
            for j in range(2):
                moved = head * head_dim + j * head_dim // 2 + k
                out[moved] = rows[head * head_dim + 2 * k + j]
    return out


def to_huggingface(config, weights) -> dict[str, np.ndarray]:
    out = {}
    for name, weight in weights.items():
        n_heads = {"wq": config.n_heads, "wk": config.n_kv_heads}.get(name.rpartition(".")[2])
        moved = halves_row_by_row(weight, n_heads) if n_heads else weight
        out[from_ours(name, "huggingface")] = moved
    return out


def hugging_config(config, **changes) -> dict:
    values = {
        "model_type": "llama", "hidden_size": config.dim, "intermediate_size": config.hidden_dim,
        "num_hidden_layers": config.n_layers, "num_attention_heads": config.n_heads,
        "num_key_value_heads": config.n_kv_heads, "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_seq_len, "rms_norm_eps": config.norm_eps,
        "rope_theta": 10000.0, "tie_word_embeddings": changes.pop("tied", False),
    }  # fmt: skip
    return values | changes
