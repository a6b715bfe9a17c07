"""The order of the rows of wq and wk: which two numbers of a head RoPE rotates together.

In Meta's, ggml and GGUF files row 2k and row 2k + 1 of a head form a pair; in Hugging Face files
row k and row k + head_dim / 2 do. Rows move whole, so quantized blocks move as they are.
Source: `permute` in convert_llama_weights_to_hf.py of Hugging Face's transformers.
"""

from __future__ import annotations

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import ShapeError


def rows_side_by_side(stored: np.ndarray, name: str, config: ModelConfig) -> np.ndarray:
    """A weight with RoPE's pairs side by side, regardless of its file's row order.

    Args:
        stored: the weight of that name, of any stored dtype.
        config: `rope_pairing` gives the order of the stored rows.
    Returns:
        The same shape and dtype: a copy for wq and wk of a model with pairs half a head apart, else
        `stored` itself.
    """
    n_heads = n_rotated_heads(name, config)
    if n_heads is None or config.rope_pairing == "interleaved":
        return stored
    return permute_rows_to_interleaved(stored, n_heads)


def rows_in_halves(stored: np.ndarray, name: str, config: ModelConfig) -> np.ndarray:
    """A weight with RoPE's pairs side by side, in the row order of Hugging Face files.

    Returns:
        The same shape and dtype: a copy for wq and wk, else `stored` itself.
    """
    n_heads = n_rotated_heads(name, config)
    return stored if n_heads is None else permute_rows_to_halves(stored, n_heads)


def n_rotated_heads(name: str, config: ModelConfig) -> int | None:
    """The number of heads in the rows of wq or wk; None for weights that RoPE does not rotate."""
    kind = name.rpartition(".")[2]
    return {"wq": config.n_heads, "wk": config.n_kv_heads}.get(kind)


def permute_rows_to_halves(stored: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows with pairs side by side into rows with pairs half a head apart.

    Args:
        stored: (n_heads * head_dim, n_blocks) of any stored dtype.
        n_heads: query heads for wq, key/value heads for wk.
    Returns:
        The same shape and dtype, a copy.
    """
    heads = _by_head(stored, n_heads)
    return heads.reshape(n_heads, -1, 2, *stored.shape[1:]).swapaxes(1, 2).reshape(stored.shape)


def permute_rows_to_interleaved(stored: np.ndarray, n_heads: int) -> np.ndarray:
    """Rows with pairs half a head apart into rows with pairs side by side.

    Args:
        stored: (n_heads * head_dim, n_blocks) of any stored dtype.
        n_heads: query heads for wq, key/value heads for wk.
    Returns:
        The same shape and dtype, a copy.
    """
    heads = _by_head(stored, n_heads)
    return heads.reshape(n_heads, 2, -1, *stored.shape[1:]).swapaxes(1, 2).reshape(stored.shape)


def _by_head(stored: np.ndarray, n_heads: int) -> np.ndarray:
    if len(stored) % (2 * n_heads):
        raise ShapeError(
            f"row order: {len(stored)} rows, expected an even number for each of {n_heads} heads"
        )
    return stored.reshape(n_heads, -1, *stored.shape[1:])
