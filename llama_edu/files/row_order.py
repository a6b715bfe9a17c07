"""The order of the rows of wq and wk: which two numbers of a head RoPE rotates together.

In Meta's, ggml and GGUF files row 2k and row 2k + 1 of a head form a pair; in Hugging Face files
row k and row k + head_dim / 2 do. Rows move whole, so quantized blocks move as they are.
Source: `permute` in convert_llama_weights_to_hf.py of Hugging Face's transformers.
"""

from __future__ import annotations

import numpy as np

from llama_edu.errors import ShapeError


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
