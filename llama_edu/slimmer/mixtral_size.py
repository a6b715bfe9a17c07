"""What a token needs of Mixtral 8x7B, by arithmetic: nothing here is measured.

Sizes: table 1 of Jiang et al., arXiv 2401.04088.
"""

from __future__ import annotations

import math

from llama_edu.config import ModelConfig

MIXTRAL_8X7B = ModelConfig(
    dim=4096, hidden_dim=14336, n_layers=32, n_heads=32, n_kv_heads=8, vocab_size=32_000,
    max_seq_len=32_768, norm_eps=1e-5, n_experts=8, n_experts_per_token=2,
)  # fmt: skip


def token_share(config: ModelConfig) -> float:
    """The share of the weights that one token needs: of the embedding table one row."""
    sizes = {name: math.prod(shape) for name, shape in config.tensor_shapes().items()}
    experts = sum(n for name, n in sizes.items() if ".experts." in name)
    idle = sizes["token_embedding"] - config.dim
    if config.n_experts:
        idle += experts * (config.n_experts - config.n_experts_per_token) // config.n_experts
    total = sum(sizes.values())
    return (total - idle) / total
