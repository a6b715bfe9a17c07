"""Which generation of models a params.json is of, and what that generation leaves out of it.

LLaMA 1, Llama 2, 3, 3.1 and 3.2, Code Llama and Mistral all come as params.json and .pth files, and
each model's own program knew its context and the factor of its rotations.
Source: CONTEXT_LENGTH_FOR_VERSION and the factors in transformers' convert_llama_weights_to_hf.py;
convert.py of llama.cpp (2023) for LLaMA 1, Llama 2 and Code Llama.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: Widths of the two text models of Llama 3.2, which stretch RoPE by 32; 3.1 and 3.3 do so by 8.
_DIMS_OF_LLAMA_3_2 = (2048, 3072)


@dataclass(frozen=True)
class Generation:
    """A generation of models, and what their params.json leaves out.

    Attributes:
        context: positions it was trained on, or its sliding window where it `has_window`: only up
            to there is full attention what the model computes.
        why: how the generation was told.
        rope_factor: by how much `use_scaled_rope` stretches the rotations.
    """

    name: str
    context: int
    why: str
    rope_factor: float = 1.0
    has_window: bool = False


def generation_of(params: Mapping[str, object]) -> Generation:
    """Which generation a params.json is of, told by the keys that are new in each.

    LLaMA 1 and Llama 2 differ in norm_eps alone, except for the 65B of LLaMA 1.
    """
    theta, eps, dim = params.get("rope_theta"), params.get("norm_eps"), params.get("dim")
    window = params.get("sliding_window")
    if params.get("use_scaled_rope"):
        if dim in _DIMS_OF_LLAMA_3_2:
            return Generation("Llama 3.2", 131072, "Llama 3.2's, by use_scaled_rope and dim", 32.0)
        return Generation("Llama 3.1", 131072, "Llama 3.1's, by use_scaled_rope", 8.0)
    if type(window) is int and window > 0:
        return Generation("Mistral", window, "its sliding window", has_window=True)
    if params.get("hidden_dim") is not None or params.get("head_dim") is not None:
        return Generation("Mistral", 32768, "Mistral's, by hidden_dim and head_dim")
    if theta == 500000:
        return Generation("Llama 3", 8192, "Llama 3's, by rope_theta 500,000")
    if isinstance(theta, int | float) and theta > 10000:
        return Generation("Code Llama", 16384, "Code Llama's, by rope_theta over 10,000")
    if params.get("n_kv_heads") is None and dim == 8192:
        return Generation("LLaMA 1", 2048, "LLaMA 1's, by dim 8,192 without n_kv_heads")
    if eps == 1e-5:
        return Generation("Llama 2", 4096, "Llama 2's, by norm_eps 1e-05")
    return Generation("LLaMA 1", 2048, "LLaMA 1's, as nothing newer is stated")
