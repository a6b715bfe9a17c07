"""Attention on several cores: each thread takes some of the key/value heads.

With a tap it runs step by step on one of them.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.blas import can_control_blas
from llama_edu.matmul.threads import FEW_POSITIONS, run_shares, worth
from llama_edu.transformer import kernels
from llama_edu.transformer.tap import Tap, untouched

#: Scores that a thread computes at a time, if that leaves enough for all, and with how many in all
#: a second thread helps.
_SMALLEST, _WORTH_SHARING = 128 * 1024, 96 * 1024


def attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, threads: int, tap: Tap = untouched
) -> np.ndarray:
    """kernels.attention, with its key/value heads shared among threads for many positions.

    Args:
        q: (T, n_heads, head_dim) float32. k, v: (n_kv_heads, S, head_dim) float32, S >= T.
        threads: the largest number of threads.
        tap: sees "scores" and "weights", (n_heads, T, S) float32 each.
    Returns:
        (T, n_heads * head_dim) float32, equal to kernels.attention bit for bit.
    """
    if tap is not untouched:
        scores = tap("scores", kernels.attention_scores(q, k))
        weights = tap("weights", kernels.softmax(scores.copy()))
        return kernels.mix(weights, v)
    if threads == 1 or len(q) < FEW_POSITIONS or not can_control_blas():
        return kernels.attention(q, k, v)
    T, n_heads, head_dim = q.shape
    n_groups = n_heads // len(k)
    n_scores = n_groups * T * k.shape[1]  # of one key/value head
    if n_scores * len(k) < _WORTH_SHARING:
        return kernels.attention(q, k, v)
    mixed = np.empty((T, n_heads * head_dim), np.float32)

    def some_heads(start: int, stop: int) -> None:
        first, last = start * n_groups, stop * n_groups
        part = kernels.attention(q[:, first:last], k[start:stop], v[start:stop])
        mixed[:, first * head_dim : last * head_dim] = part

    threads = worth(threads, n_scores * len(k), _WORTH_SHARING / 2)
    run_shares(some_heads, len(k), threads, -(-_SMALLEST // n_scores))
    return mixed
