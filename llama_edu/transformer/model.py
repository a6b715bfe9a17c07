"""forward(): tokens in, logits out. The spine of the program; it reads like the paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.matmul.product import matmul, side_by_side
from llama_edu.matmul.threads import (
    FEW_POSITIONS,
    can_control_blas,
    run_shares,
    with_blas_threads_of_model,
)
from llama_edu.quants.blocks import dequantize
from llama_edu.transformer import kernels
from llama_edu.transformer.cache import KVCache


class AccessLog(Protocol):
    """Told which weights the forward pass is about to read; see `pages.ledger`."""

    def whole(self, name: str, /) -> None:
        """Every byte of this tensor is needed."""

    def rows(self, name: str, ids: Sequence[int], /) -> None:
        """Only these rows of this tensor are needed."""


@dataclass(frozen=True)
class Model:
    """What forward() computes with: sizes, weights as stored, and the functions that multiply.

    Attributes:
        weights: our name -> view of a stored dtype, (out_features, in_features / block_size).
        frequencies: (head_dim / 2,) float64, RoPE's radians per position; see rope_frequencies.
        matmul: (x, w, threads) -> x @ w.T for stored weights.
        threads: cores that may work.
        blas_threads: how many of them BLAS may use by itself; 1 where our own threads convert
            tiles, because those of BLAS keep a core busy waiting long after their work is done.
        log: told what is read, or None.
    """

    config: ModelConfig
    weights: Mapping[str, np.ndarray]
    frequencies: np.ndarray
    matmul: Callable[[np.ndarray, np.ndarray, int], np.ndarray] = matmul
    threads: int = 1
    blas_threads: int = 1
    log: AccessLog | None = None


@with_blas_threads_of_model
def forward(
    model: Model, tokens: Sequence[int], cache: KVCache, *, last_only: bool = False
) -> np.ndarray:
    """Read tokens at the positions after those in the cache, and score what may come next.

    Args:
        tokens: T ids, each below vocab_size.
        cache: holds the earlier positions; afterwards holds these T as well.
        last_only: score only the last position, which is all that generating needs.
    Returns:
        (T, vocab_size) float32 logits, or (1, vocab_size) with last_only.
    Raises:
        RequestError: an unknown id, no token at all, or more positions than the cache has room for.
    """
    config, weights = model.config, model.weights
    T, start = len(tokens), cache.length
    check_tokens(tokens, config)
    if start + T > cache.capacity:
        raise RequestError(
            f"context: {start + T} positions needed, expected at most {cache.capacity}; shorten "
            f"the text"
        )

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        if model.log:
            model.log.whole(name)
        return model.matmul(x, weights[name], model.threads)

    def linears(x: np.ndarray, *names: str) -> list[np.ndarray]:
        if model.log:
            for name in names:
                model.log.whole(name)
        return side_by_side(model.matmul, x, [weights[name] for name in names], model.threads)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        if model.log:
            model.log.whole(name)
        return kernels.rms_norm(x, dequantize_vector(weights[name]), config.norm_eps)

    rope = kernels.rope_halves if config.rope_pairing == "halves" else kernels.rope_interleaved
    rotations = kernels.rope_rotations(np.arange(start, start + T), model.frequencies)

    x = embed(model, tokens)  # (T, dim)
    for i in range(config.n_layers):
        layer = f"layers.{i}."
        h = norm(x, layer + "attention_norm")
        q, k, v = linears(h, layer + "wq", layer + "wk", layer + "wv")
        q = q.reshape(T, config.n_heads, config.head_dim)
        k = k.reshape(T, config.n_kv_heads, config.head_dim)
        v = v.reshape(T, config.n_kv_heads, config.head_dim)
        keys, values = cache.extend(i, rope(k, rotations), v)
        mixed = attention(rope(q, rotations), keys, values, model.threads)
        x = x + linear(mixed, layer + "wo")

        h = norm(x, layer + "ffn_norm")
        gate, up = linears(h, layer + "w_gate", layer + "w_up")
        x = x + linear(kernels.swiglu(gate, up), layer + "w_down")
    cache.length += T

    x = norm(x[-1:] if last_only else x, "final_norm")
    return linear(x, "output" if "output" in weights else "token_embedding")


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, threads: int) -> np.ndarray:
    """kernels.attention, its key/value heads shared among threads where there are many positions.

    Args and returns: as there.
    """
    if threads == 1 or len(q) < FEW_POSITIONS or not can_control_blas():
        return kernels.attention(q, k, v)
    T, n_heads, head_dim = q.shape
    n_groups = n_heads // len(k)
    mixed = np.empty((T, n_heads * head_dim), np.float32)

    def some_heads(start: int, stop: int) -> None:
        first, last = start * n_groups, stop * n_groups
        part = kernels.attention(q[:, first:last], k[start:stop], v[start:stop])
        mixed[:, first * head_dim : last * head_dim] = part

    run_shares(some_heads, len(k), threads)
    return mixed


def embed(model: Model, tokens: Sequence[int]) -> np.ndarray:
    """Look up the rows of the embedding table that these tokens need, and no others.

    Returns:
        (T, dim) float32, a copy of T rows.
    """
    if model.log:
        model.log.rows("token_embedding", tokens)
    return dequantize(model.weights["token_embedding"][np.asarray(tokens)])


def dequantize_vector(weight: np.ndarray) -> np.ndarray:
    """A norm's weights as float32: in place where they already are, else a copy of one vector."""
    return weight if weight.dtype == np.float32 else dequantize(weight)


def check_tokens(tokens: Sequence[int], config: ModelConfig) -> None:
    """Raise RequestError unless there is at least one token and every id is in the vocabulary."""
    if len(tokens) == 0:
        raise RequestError("tokens: none given, expected at least one; start with BOS (id 1)")
    for position, token in enumerate(tokens):
        if not 0 <= token < config.vocab_size:
            raise RequestError(
                f"tokens: id {token} at position {position}, expected 0 to {config.vocab_size - 1}"
            )
