"""Small random models in memory, and texts for them."""

from __future__ import annotations

import numpy as np

from helpers.small_models import random_weights, small_config
from llama_edu.rope import rope_frequencies
from llama_edu.transformer.model import Model


def random_model(seed: int, **changes) -> Model:
    """Grouped queries, either pairing, tied or not, small weights or large."""
    rng = np.random.default_rng(seed)
    config = small_config(rope_pairing=("interleaved", "halves")[seed % 2], **changes)
    weights = random_weights(config, rng, tied=seed % 3 == 0)
    if seed % 5 == 4:
        weights = {n: w * np.float32(0.2) if w.ndim == 2 else w for n, w in weights.items()}
    return Model(config, weights, rope_frequencies(config))


def random_text(seed: int, n_tokens: int = 24) -> list[int]:
    """BOS and 23 more ids."""
    return [1, *np.random.default_rng(seed + 1000).integers(3, 271, n_tokens - 1).tolist()]
