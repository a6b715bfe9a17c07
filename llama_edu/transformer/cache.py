"""KVCache: the keys and values of every position seen so far."""

from __future__ import annotations

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.html import facts_html


class KVCache:
    """Space for the keys and values of `capacity` positions, written in place and read as views.

    Attributes:
        keys, values: (n_layers, n_kv_heads, capacity, head_dim) float32. The system provides the
            memory page by page as positions are filled, not when the cache is created.
        length: positions filled so far; also the position of the next token.
    """

    def __init__(self, config: ModelConfig, capacity: int | None = None) -> None:
        capacity = config.max_seq_len if capacity is None else capacity
        if not 0 < capacity <= config.max_seq_len:
            raise RequestError(
                f"KV cache: capacity {capacity}, expected 1 to {config.max_seq_len}, the model's "
                f"context"
            )
        shape = (config.n_layers, config.n_kv_heads, capacity, config.head_dim)
        self.keys = np.zeros(shape, np.float32)
        self.values = np.zeros(shape, np.float32)
        self.length = 0

    @property
    def capacity(self) -> int:
        """The largest number of positions."""
        return self.keys.shape[2]

    @property
    def n_bytes(self) -> int:
        """Bytes of keys and values together when all positions are filled."""
        return self.keys.nbytes + self.values.nbytes

    def check_room(self, n_positions: int) -> None:
        """Raise RequestError unless `n_positions` more positions fit."""
        if self.length + n_positions > self.capacity:
            raise RequestError(
                f"context: {self.length + n_positions} positions needed, expected at most "
                f"{self.capacity}; shorten the text"
            )

    def extend(self, layer: int, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Write the newest keys and values of one layer; the caller advances `length` at the end.

        Args:
            k, v: (T, n_kv_heads, head_dim) float32.
        Returns:
            Two (n_kv_heads, length + T, head_dim) float32 views: all positions so far.
        """
        start, end = self.length, self.length + len(k)
        self.keys[layer, :, start:end] = k.transpose(1, 0, 2)
        self.values[layer, :, start:end] = v.transpose(1, 0, 2)
        return self.keys[layer, :, :end], self.values[layer, :, :end]

    def first_not_finite(self) -> tuple[int, int] | None:
        """Where NaN or infinity began: (position, layer) of the first such key or value, or None.

        The lowest layer decides: above it, positions that were computed together have spread it
        to each other (0 times NaN is NaN). Reads all filled positions.
        """
        wrong = np.zeros((self.keys.shape[0], self.length), bool)
        for part in (self.keys, self.values):
            wrong |= ~np.isfinite(part[:, :, : self.length]).all(axis=(1, 3))
        if not wrong.any():
            return None
        layer = int(wrong.any(axis=1).argmax())
        return int(wrong[layer].argmax()), layer

    def copy_from(self, other: KVCache, length: int) -> None:
        """Replace the contents by the first `length` positions of another cache of this model.

        Raises:
            RequestError: the other cache holds fewer, or they do not fit into this one.
        """
        most = min(other.length, self.capacity)
        if not 0 <= length <= most:
            raise RequestError(f"KV cache: cannot copy {length} positions, expected 0 to {most}")
        self.keys[:, :, :length] = other.keys[:, :, :length]
        self.values[:, :, :length] = other.values[:, :, :length]
        self.length = length

    def truncate(self, length: int) -> None:
        """Forget every position from `length` on, so that another text can follow there."""
        if not 0 <= length <= self.length:
            raise RequestError(
                f"KV cache: cannot go back to position {length}, expected 0 to {self.length}"
            )
        self.length = length

    def __repr__(self) -> str:
        n_layers, n_kv_heads, capacity, head_dim = self.keys.shape
        return (
            f"KVCache({self.length} of {capacity} positions, {n_layers} layers x {n_kv_heads} "
            f"heads x {head_dim}, {self.n_bytes:,} bytes when full)"
        )

    def _repr_html_(self) -> str:
        n_layers, n_kv_heads, capacity, head_dim = self.keys.shape
        return facts_html(
            "KVCache",
            {
                "positions": f"{self.length:,} of {capacity:,} filled",
                "each": f"{n_layers} layers x {n_kv_heads} heads x {head_dim} numbers, twice",
                "bytes when full": self.n_bytes,
            },
        )
