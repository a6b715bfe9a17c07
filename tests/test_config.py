"""ModelConfig refuses sizes that cannot fit together, and derives the others."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from helpers.small_models import random_weights, small_config

from llama_edu.config import ModelConfig, RopeScaling, hidden_dim_by_rule, output_name
from llama_edu.errors import ShapeError


def test_widths_follow_from_heads():
    config = small_config()
    assert (config.head_dim, config.n_groups, config.q_dim, config.kv_dim) == (4, 3, 24, 8)
    wide = small_config(head_dim=10)
    assert (wide.head_dim, wide.q_dim, wide.kv_dim) == (10, 60, 20)


@pytest.mark.parametrize("tied", [False, True])
def test_the_shapes_are_those_of_a_model(rng, tied):
    config = small_config(head_dim=10)
    weights = random_weights(config, rng, tied=tied)
    shapes = config.tensor_shapes(tied_output=tied)
    assert shapes == {name: array.shape for name, array in weights.items()}


@pytest.mark.parametrize("tied", [False, True])
def test_a_tied_output_is_the_embedding(rng, tied):
    weights = random_weights(small_config(), rng, tied=tied)
    assert output_name(weights) == ("token_embedding" if tied else "output")


def test_a_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        small_config().dim = 5


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dim": 0}, "dim is 0, expected 1 to 2,147,483,647"),
        ({"hidden_dim": -1}, "hidden_dim is -1, expected 1 to"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"vocab_size": 2**31}, "vocab_size is 2,147,483,648"),
        ({"max_seq_len": -5}, "max_seq_len is -5"),
        ({"dim": 25}, "dim 25 is not a multiple of n_heads 6"),
        ({"dim": 30}, "head_dim 5 is not even; RoPE rotates pairs of numbers"),
        ({"head_dim": -2}, "head_dim -2 is not even"),
        ({"n_kv_heads": 4}, "n_heads 6 is not a multiple of n_kv_heads 4; each key/value head"),
        ({"n_kv_heads": 12}, "n_heads 6 is not a multiple of n_kv_heads 12"),
        ({"norm_eps": 0.0}, "norm_eps is 0.0, expected a positive number"),
        ({"norm_eps": math.nan}, "norm_eps is nan"),
        ({"rope_theta": math.inf}, "rope_theta is inf"),
        ({"rope_theta": -1.0}, "rope_theta is -1.0"),
    ],
)
def test_impossible_sizes_are_named(changes, sentence):
    with pytest.raises(ShapeError, match=sentence):
        small_config(**changes)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("linear", 0.0), "factor 0.0, expected a positive number"),
        (("linear", math.nan), "factor nan"),
        (("llama3", math.inf), "factor inf"),
        (("llama3", 8.0, 4.0, 4.0), "low_freq_factor 4.0 and high_freq_factor 4.0, expected 0 <"),
        (("llama3", 8.0, 0.0, 4.0), "low_freq_factor 0.0"),
    ],
)
def test_impossible_rope_scaling_is_named(arguments, sentence):
    with pytest.raises(ShapeError, match=sentence):
        RopeScaling(*arguments)


@pytest.mark.parametrize(
    ("dim", "multiple_of", "multiplier", "expected"),
    [  # published sizes: LLaMA 7B, 13B, 30B, 65B; Llama 2 70B; Llama 3 8B and 70B
        (4096, 256, None, 11008),
        (5120, 256, None, 13824),
        (6656, 256, None, 17920),
        (8192, 256, None, 22016),
        (8192, 4096, 1.3, 28672),
        (4096, 1024, 1.3, 14336),
    ],
)
def test_the_rule_gives_the_published_widths(dim, multiple_of, multiplier, expected):
    assert hidden_dim_by_rule(dim, multiple_of, multiplier) == expected


def test_the_rule_refuses_what_is_not_positive():
    for arguments in ((0, 256), (64, 0), (64, -1)):
        with pytest.raises(ShapeError, match="expected both > 0"):
            hidden_dim_by_rule(*arguments)


def test_sizes_of_numpy_are_sizes_too():
    config = ModelConfig(*(np.int64(n) for n in (24, 40, 3, 6, 2, 271)))
    assert config.tensor_shapes() == small_config().tensor_shapes()
