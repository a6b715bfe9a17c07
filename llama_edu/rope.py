"""RoPE's frequencies, and the divisors that Llama 3.1 files store in place of a scaling rule."""

from __future__ import annotations

import numpy as np

from llama_edu.config import ModelConfig, RopeScaling
from llama_edu.errors import RequestError


def llama3_divisors(config: ModelConfig) -> np.ndarray:
    """What Llama 3.1 divides RoPE's frequencies by: 1 for fast rotations, `factor` for slow ones.

    Returns:
        (head_dim / 2,) float32, a copy.
    Raises:
        RequestError: the model does not scale its rotations by this rule.
    Source: `apply_scaling` in Meta's llama_models/llama3/model.py; stored as the tensor rope_freqs
    since PR #8676 of llama.cpp.
    """
    scaling = config.rope_scaling
    if scaling is None or scaling.kind != "llama3":
        raise RequestError("rope scaling: is not llama3, so there are no divisors to compute")
    exponents = np.arange(0, config.head_dim, 2) / config.head_dim
    turns = scaling.original_max_seq_len * config.rope_theta**-exponents / (2 * np.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    fastness = np.clip((turns - low) / (high - low), 0, 1)  # 1: `high` turns or more in a context
    return (1 / ((1 - fastness) / scaling.factor + fastness)).astype(np.float32)


def llama3_scaling(divisors: np.ndarray, config: ModelConfig) -> RopeScaling | None:
    """The rule behind stored divisors, for formats that name it; None if it is not Meta's rule.

    Args:
        divisors: (head_dim / 2,) float32, as in a GGUF file's rope_freqs.
        config: gives head_dim and rope_theta. Meta's other numbers (1, 4, 8192) are assumed, and
            the assumption is checked.
    """
    factor = float(divisors.max(initial=0))
    if not np.isfinite(divisors).all() or factor <= 0:
        return None
    scaling = RopeScaling("llama3", factor)
    expected = llama3_divisors(ModelConfig(**{**vars(config), "rope_scaling": scaling}))
    same = expected.shape == divisors.shape and np.allclose(expected, divisors, rtol=1e-5, atol=0)
    return scaling if same else None


def rope_frequencies(config: ModelConfig, divisors: np.ndarray | None = None) -> np.ndarray:
    """How fast each pair of a head turns, in radians per position.

    Args:
        divisors: (head_dim / 2,) divisor of each frequency, from a file's rope_freqs tensor. None
            computes them from `config.rope_scaling`.
    Returns:
        (head_dim / 2,) float64, falling from 1 to about 1 / rope_theta.
    """
    pairs = np.arange(0, config.head_dim, 2, dtype=np.float64)
    frequencies = config.rope_theta ** (-pairs / config.head_dim)
    if divisors is not None:
        return frequencies / divisors
    scaling = config.rope_scaling
    if scaling is None:
        return frequencies
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    return frequencies / llama3_divisors(config)
