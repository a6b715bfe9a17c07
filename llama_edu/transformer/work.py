"""How many multiplications a forward pass takes: those of its matrices and of attention."""

from __future__ import annotations

from llama_edu.config import ModelConfig


def multiplications(config: ModelConfig, n_new: int, n_before: int = 0) -> int:
    """Multiplications for some positions, and for the scores after the last of them.

    Counts the matrices, the products of queries with keys and of weights with values; norms, RoPE
    and softmax are less than a hundredth of that and are left out.

    Args:
        n_new: positions that are computed. n_before: positions whose keys and values are kept.
    """
    q_dim, kv_dim = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    n_feed_forwards = config.n_experts_per_token or 1
    matrices = config.dim * (
        2 * q_dim + 2 * kv_dim + 3 * n_feed_forwards * config.hidden_dim + config.n_experts
    )
    n_looks = sum(range(n_before + 1, n_before + n_new + 1))  # each looks at itself and before
    layers = config.n_layers * (n_new * matrices + 2 * q_dim * n_looks)
    return layers + config.dim * config.vocab_size


def cache_saving(config: ModelConfig, length: int) -> float:
    """Multiplications for the last of `length` positions without a cache, over those with one."""
    return multiplications(config, length) / multiplications(config, 1, length - 1)
