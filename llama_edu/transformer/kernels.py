"""The mathematics of one LLaMA layer: arrays in, arrays out, numpy only.

T is the number of positions computed together, S the number of positions seen so far (T included).
Everything is float32; one float64 array here would make numpy copy a whole weight matrix later.
"""

from __future__ import annotations

import numpy as np

#: exp(88) is near the largest float32 and exp(89) is beyond it. At and below -87, silu(x) is 0 to
#: 35 digits.
_SILU_FLOOR = np.float32(-87.0)


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """Scale each position to unit mean square, then each feature by its weight.

    Args:
        x: (T, dim) float32. weight: (dim,) float32. eps: added to the mean square.
    Returns:
        (T, dim) float32, a new array.
    Source: Zhang and Sennrich, arXiv 1910.07467.
    """
    mean_square = np.add.reduce(x * x, axis=-1, keepdims=True) / np.float32(x.shape[-1])
    scaled = x / np.sqrt(mean_square + np.float32(eps))
    scaled *= weight
    return scaled


def softmax(x: np.ndarray) -> np.ndarray:
    """Turn scores into probabilities along the last axis, in place.

    Args:
        x: (..., n) float32; -inf means impossible. At least one score in each row is finite.
    Returns:
        x itself, now non-negative and summing to 1 along the last axis.
    """
    x -= x.max(axis=-1, keepdims=True)
    np.exp(x, out=x)
    x /= np.add.reduce(x, axis=-1, keepdims=True)
    return x


def silu(x: np.ndarray) -> np.ndarray:
    """Multiply each number by its own sigmoid, without overflow.

    Args:
        x: float32 of any shape.
    Returns:
        A new float32 array of the same shape.
    """
    x = np.maximum(x, _SILU_FLOOR)
    y = np.negative(x)
    np.exp(y, out=y)
    y += np.float32(1)
    return np.divide(x, y, out=y)


def swiglu(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """The gated activation of the feed-forward layer: silu(gate) * up.

    Args:
        gate, up: (T, hidden_dim) float32.
    Returns:
        (T, hidden_dim) float32, a new array.
    Source: Shazeer, arXiv 2002.05202.
    """
    activated = silu(gate)
    activated *= up
    return activated


def reglu(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """The same with ReLU: max(gate, 0) * up, which is exactly 0 wherever the gate is negative.

    Args, Returns, Source: as swiglu().
    """
    activated = np.maximum(gate, np.float32(0))
    activated *= up
    return activated


def rope_rotations(positions: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """How far RoPE turns each pair at each position, as unit complex numbers.

    Args:
        positions: (T,) integers. frequencies: (head_dim / 2,) float64, radians per position.
    Returns:
        (T, head_dim / 2) complex64: cos(angle) + i sin(angle), the angle taken in float64.
    Source: Su et al., arXiv 2104.09864.
    """
    return np.exp(1j * np.outer(positions, frequencies)).astype(np.complex64)


def rope_interleaved(x: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Rotate neighbors (2i, 2i + 1) of every head, the pairing of Meta's, ggml and GGUF files.

    Two neighboring float32 are one complex64 in memory, so the rotation is one multiplication.

    Args:
        x: (T, n_heads, head_dim) float32, C-contiguous. rotations: (T, head_dim / 2) complex64.
    Returns:
        (T, n_heads, head_dim) float32, a new array.
    """
    return (x.view(np.complex64) * rotations[:, None, :]).view(np.float32)


def rope_halves(x: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Rotate (i, i + head_dim / 2) of every head, the pairing of Hugging Face files.

    Args:
        x: (T, n_heads, head_dim) float32. rotations: (T, head_dim / 2) complex64.
    Returns:
        (T, n_heads, head_dim) float32, a new array.
    """
    half = x.shape[-1] // 2
    turned = (x[..., :half] + np.complex64(1j) * x[..., half:]) * rotations[:, None, :]
    return np.concatenate((turned.real, turned.imag), axis=-1)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Causal attention of the T newest positions over all S.

    Args:
        q: (T, n_heads, head_dim) float32. k, v: (n_kv_heads, S, head_dim) float32, S >= T.
    Returns:
        (T, n_heads * head_dim) float32, the heads side by side.
    Source: Ainslie et al. (grouped queries), arXiv 2305.13245.
    """
    return mix(softmax(attention_scores(q, k)), v)


def attention_scores(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    """How well each query fits each key; -inf for the future.

    The query at index t stands at position S - T + t and sees the positions up to its own. Each
    key/value head serves n_heads / n_kv_heads query heads through a view: no head is repeated.

    Args:
        q: (T, n_heads, head_dim) float32. k: (n_kv_heads, S, head_dim) float32, S >= T.
    Returns:
        (n_heads, T, S) float32, a new array, C-contiguous.
    """
    T, n_heads, head_dim = q.shape
    n_kv_heads, S, _ = k.shape
    n_groups = n_heads // n_kv_heads
    # (n_kv_heads, n_groups * T, head_dim): queries that read the same keys are adjacent
    q = q.reshape(T, n_kv_heads, n_groups, head_dim).transpose(1, 2, 0, 3)
    q = q.reshape(n_kv_heads, n_groups * T, head_dim) * np.float32(head_dim**-0.5)
    scores = (q @ k.transpose(0, 2, 1)).reshape(n_heads, T, S)
    if T > 1:
        scores += np.triu(np.full((T, S), -np.inf, np.float32), k=S - T + 1)
    return scores


def mix(weights: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Each head's average of the values, by its attention weights.

    Args:
        weights: (n_heads, T, S) float32, C-contiguous. v: (n_kv_heads, S, head_dim) float32.
    Returns:
        (T, n_heads * head_dim) float32, the heads side by side.
    """
    n_heads, T, S = weights.shape
    n_kv_heads, _, head_dim = v.shape
    mixed = weights.reshape(n_kv_heads, -1, S) @ v  # (n_kv_heads, n_groups * T, head_dim)
    mixed = mixed.reshape(n_heads, T, head_dim).transpose(1, 0, 2)
    return mixed.reshape(T, n_heads * head_dim)
