"""A share of something, and whether a model is one that these ways understand."""

from __future__ import annotations

import math

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError


def check_share(share: float, what: str) -> float:
    """The share; RequestError unless it is a number from 0 to 1."""
    if not (math.isfinite(share) and 0 <= share <= 1):
        raise RequestError(f"{what}: a share of {share}, expected a number from 0 to 1")
    return share


def check_dense(config: ModelConfig, what: str) -> None:
    """RequestError for a model with experts, of which a token reads only some."""
    if config.n_experts:
        raise RequestError(
            f"{what}: the model has {config.n_experts} experts per layer, expected one "
            f"feed-forward network per layer; give a dense model"
        )
