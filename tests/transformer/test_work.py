"""The count of multiplications, against one that follows the matrices of a real file."""

from __future__ import annotations

import numpy as np
from helpers.small_models import random_weights, small_config

from llama_edu.transformer.work import cache_saving, multiplications


def slow_count(config, n_new, n_before):
    """Every matrix of the weights once for each position, attention position by position."""
    weights = random_weights(config, np.random.default_rng(5))
    total = 0
    for position in range(n_before, n_before + n_new):
        for name, array in weights.items():
            if array.ndim == 2 and name.startswith("layers."):
                total += array.size
        for _ in range(config.n_layers * config.n_heads):
            total += 2 * config.head_dim * (position + 1)  # scores, then the mean of values
    return total + weights["output"].size


def test_every_matrix_and_every_look_is_counted():
    config = small_config()
    for n_new, n_before in ((1, 0), (1, 11), (7, 0), (5, 4)):
        assert multiplications(config, n_new, n_before) == slow_count(config, n_new, n_before)


def test_what_a_cache_saves_begins_at_nothing_and_stays_below_the_length():
    config = small_config()
    ratios = [cache_saving(config, n) for n in range(1, 60)]
    assert ratios[0] == 1 and np.all(np.diff(ratios) > 0)
    assert all(ratio <= n for n, ratio in enumerate(ratios, 1))


def test_of_experts_those_that_compute_are_counted_and_the_router():
    config = small_config(n_experts=5, n_experts_per_token=2)
    dense = small_config()
    more = config.n_layers * (3 * config.dim * config.hidden_dim + 5 * config.dim)
    assert multiplications(config, 1) - multiplications(dense, 1) == more
