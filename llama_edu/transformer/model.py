"""forward(): tokens in, logits out. The core of the program; it reads like the paper.

T is the number of positions computed together. Shapes are those of kernels.py; every array is
float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llama_edu.config import ModelConfig, output_name
from llama_edu.errors import RequestError
from llama_edu.matmul.product import Matmul, matmul, products
from llama_edu.quants.blocks import block_type_of, by_column, dequantize
from llama_edu.transformer import kernels
from llama_edu.transformer.access_log import NO_LOG, AccessLog
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.experts import mixture
from llama_edu.transformer.functions import NUMPY, Functions
from llama_edu.transformer.tap import Tap, checked, in_layer, untouched

#: ModelConfig.rope_pairing -> the function that rotates such pairs.
ROPE = {"interleaved": kernels.rope_interleaved, "halves": kernels.rope_halves}


def forward(
    model: Model,
    tokens: Sequence[int],
    cache: KVCache,
    *,
    last_only: bool = False,
    tap: Tap | None = None,
    ffn: FeedForward | None = None,
) -> np.ndarray:
    """Read tokens at the positions after those in the cache, and score what may come next.

    Args:
        tokens: T ids, each below vocab_size.
        cache: holds the earlier positions; afterwards holds these T as well.
        last_only: score only the last position, which is all that generation needs.
        tap: called with the name and the numbers of every step, and gives what to go on with; see
            tap.py, which lists the steps.
        ffn: what computes the second block in place of feed_forward(), with its arguments; for a
            model with experts, in place of mixture() of experts.py.
    Returns:
        (T, vocab_size) float32 logits, or (1, vocab_size) with last_only.
    Raises:
        RequestError: an unknown id, no tokens, or more positions than fit into the cache; or the
            tap returned something else than an array of the same shape.
        NumericalError: a router's score is NaN or infinite, and could not choose an expert.
    """
    check_tokens(tokens, model.config)
    cache.check_room(len(tokens))
    positions = np.arange(cache.length, cache.length + len(tokens))
    rotations = kernels.rope_rotations(positions, model.frequencies)
    see = checked(tap)
    ffn = ffn or (mixture if model.config.n_experts else feed_forward)

    x = see("embedding", model.embed(tokens))  # (T, dim)
    for layer in range(model.config.n_layers):
        here = in_layer(see, layer)
        x = here("attended", x + attention(model, layer, x, rotations, cache, here))
        x = here("out", x + ffn(model, layer, x, here))
    cache.length += len(tokens)

    x = see("final_norm", model.norm(x[-1:] if last_only else x, "final_norm"))
    return see("logits", model.linear(x, output_name(model.weights)))  # (T, vocab_size)


def attention(
    model: Model,
    layer: int,
    x: np.ndarray,
    rotations: np.ndarray,
    cache: KVCache,
    see: Tap = untouched,
) -> np.ndarray:
    """What each position gathers from the positions up to its own.

    Args:
        x: (T, dim). rotations: (T, head_dim / 2) complex64, RoPE's rotation of each pair.
        cache: stores the T new keys and values of this layer and returns those of all positions.
        see: shows each step under its name and gives back what to go on with.
    Returns:
        (T, dim), to be added to x.
    """
    config, name = model.config, f"layers.{layer}"
    rope = ROPE[config.rope_pairing]
    h = see("attention_norm", model.norm(x, f"{name}.attention_norm"))
    q, k, v = model.linears(h, f"{name}.wq", f"{name}.wk", f"{name}.wv")
    q = see("q", q.reshape(-1, config.n_heads, config.head_dim))
    k = see("k", k.reshape(-1, config.n_kv_heads, config.head_dim))
    v = see("v", v.reshape(-1, config.n_kv_heads, config.head_dim))
    q, k = see("q_rope", rope(q, rotations)), see("k_rope", rope(k, rotations))
    keys, values = cache.extend(layer, k, v)  # (n_kv_heads, S, head_dim) each
    attend = model.functions.attend
    mixed = see("mixed", attend(q, keys, values, model.threads, see))  # (T, n_heads * head_dim)
    return see("wo", model.linear(mixed, f"{name}.wo"))


def feed_forward(model: Model, layer: int, x: np.ndarray, see: Tap = untouched) -> np.ndarray:
    """What each position computes on its own, in a model without experts.

    Args:
        x: (T, dim). see: as in attention().
    Returns:
        (T, dim), to be added to x.
    """
    config, name = model.config, f"layers.{layer}"
    h = see("ffn_norm", model.norm(x, f"{name}.ffn_norm"))
    gate, up = model.linears(h, f"{name}.w_gate", f"{name}.w_up")  # (T, hidden_dim) each
    gated = model.functions.gated[config.activation]
    activated = see("activated", gated(see("gate", gate), see("up", up)))
    return see("down", model.linear(activated, f"{name}.w_down"))


#: (model, layer, x, see) -> (T, dim), to be added to x: the form of feed_forward().
FeedForward = Callable[["Model", int, np.ndarray, Tap], np.ndarray]


class OneToken(Protocol):
    """forward() for one position of one model."""

    def computes(self, model: Model, /) -> bool:
        """Whether it computes this model: nothing of it was replaced since."""

    def __call__(self, token: int, cache: KVCache, /) -> np.ndarray:
        """(vocab_size,) float32 logits after one more token."""


def _in_memory() -> None:
    """Weights that are in no file cannot change."""


@dataclass(frozen=True)
class Model:
    """What forward() computes with: sizes, weights as stored, and the function that multiplies.

    Every weight is read through a method here, which reports it to the log first.

    Attributes:
        weights: our name -> view of a stored dtype, (out_features, in_features / block_size).
        frequencies: (head_dim / 2,) float64, RoPE's radians per position; see rope.py.
        matmul: (x, w, threads) -> x @ w.T for stored weights; `matmul.choice` selects one.
        functions: what computes besides products, see functions.py.
        threads: the largest number of threads.
        blas_threads: how many threads BLAS may use; the caller of forward() sets BLAS to it. It is
            1 where our own threads convert tiles, because BLAS's threads keep a core busy waiting
            long after their work is done.
        log: receives the name of each weight that is read.
        one_token: one call in place of forward() for one position, see jit/one_token.py; None
            where only forward() can compute the model. It is asked whether it still computes this
            one, since other weights or products may have taken the place of its own.
        check_files: raises FormatError where the bytes of the weights changed; the caller of
            forward() asks it, see step.py.
    """

    config: ModelConfig
    weights: Mapping[str, np.ndarray]
    frequencies: np.ndarray
    matmul: Matmul = matmul
    functions: Functions = NUMPY
    threads: int = 1
    blas_threads: int = 1
    log: AccessLog = NO_LOG
    one_token: OneToken | None = None
    check_files: Callable[[], object] = _in_memory

    def embed(self, tokens: Sequence[int]) -> np.ndarray:
        """The rows of the embedding table that these tokens need: (T, dim) float32, a copy."""
        self.log.rows("token_embedding", tokens)
        return dequantize(self.weights["token_embedding"][np.asarray(tokens)])

    def linear(self, x: np.ndarray, name: str) -> np.ndarray:
        """Multiply by one stored matrix: (T, in_features) to (T, out_features) float32."""
        self.log.whole(name)
        return self.matmul(x, self.weights[name], self.threads)

    def linears(self, x: np.ndarray, *names: str) -> list[np.ndarray]:
        """`linear` for several matrices and one input; threads may share the matrices."""
        for name in names:
            self.log.whole(name)
        return products(self.matmul, x, [self.weights[name] for name in names], self.threads)

    def linear_rows(self, x: np.ndarray, name: str, rows: np.ndarray) -> np.ndarray:
        """The outputs of some rows of a matrix, which alone are read and copied.

        Args:
            x: (T, in_features) float32. rows: (n,) int64.
        Returns:
            (T, n) float32.
        """
        self.log.rows(name, rows.tolist())
        if len(rows) == 0:
            return np.zeros((len(x), 0), np.float32)
        return self.matmul(x, self.weights[name][rows], self.threads)

    def linear_columns(self, x: np.ndarray, name: str, columns: np.ndarray) -> np.ndarray:
        """Multiply by some columns of a matrix, which alone are read, in blocks; the others by 0.

        Args:
            x: (T, n) float32, what these columns are multiplied by. columns: (n,) int64, ascending.
        Returns:
            (T, out_features) float32.
        """
        self.log.columns(name, columns.tolist())
        stored = self.weights[name]
        if len(columns) == 0:
            return np.zeros((len(x), len(stored)), np.float32)
        by_neuron = by_column(stored)
        if by_neuron is not None:  # each column is stored, or can be viewed, as a row
            rows: np.ndarray = dequantize(by_neuron[columns])
        else:
            size = block_type_of(stored).block_size
            blocks = np.unique(columns // size)
            inside = np.searchsorted(blocks, columns // size) * size + columns % size
            rows = dequantize(stored[:, blocks])[:, inside].T
        out: np.ndarray = x @ rows
        return out

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        """RMSNorm with one stored vector: (T, dim) to (T, dim) float32."""
        self.log.whole(name)
        weight = self.weights[name]
        if weight.dtype != np.float32:
            weight = dequantize(weight)
        return self.functions.rms_norm(x, weight, self.config.norm_eps)


def check_tokens(tokens: Sequence[int], config: ModelConfig) -> None:
    """Raise RequestError unless there is at least one token and every id is in the vocabulary."""
    if len(tokens) == 0:
        raise RequestError("tokens: none given, expected at least one; start with BOS or a prompt")
    for position, token in enumerate(tokens):
        if not 0 <= token < config.vocab_size:
            raise RequestError(
                f"tokens: id {token} at position {position}, expected 0 to {config.vocab_size - 1}"
            )
