"""A small mixture of experts with a vocabulary, for experiments and figures, and a dense twin."""

from __future__ import annotations

import numpy as np

from helpers.mixtral_by_hand import gguf_of, gguf_tensors, mixtral_config, mixtral_weights
from helpers.small_models import random_weights
from llama_edu.transformer.experts import Choices

#: Experts of dozens of pages each; sizes that are no multiples of a page.
SIZES = {"dim": 96, "hidden_dim": 160, "n_layers": 2, "vocab_size": 300, "n_experts": 7}


def write_mixture(path, seed=8, *, router_scale=1.0, **changes):
    """A GGUF file; with router_scale 0 all experts are as likely, and 0 and 1 are always taken."""
    config = mixtral_config(**(SIZES | changes))
    weights = mixtral_weights(config, seed)
    for layer in range(config.n_layers):
        weights[f"layers.{layer}.router"] *= np.float32(router_scale)
    path.write_bytes(gguf_of(config, gguf_tensors(config, weights, "one tensor")))
    return path


def write_dense(path, seed=9, **changes):
    """A GGUF file of the same sizes and vocabulary, without experts."""
    sizes = SIZES | {"n_experts": 0, "n_experts_per_token": 0} | changes
    config = mixtral_config(**sizes)
    weights = random_weights(config, np.random.default_rng(seed))
    found = gguf_tensors(config, {**weights, **_empty_routers(config)}, "a tensor each")
    for layer in range(config.n_layers):
        del found[f"blk.{layer}.ffn_gate_inp.weight"]
        for ours, theirs in (("w_gate", "gate"), ("w_up", "up"), ("w_down", "down")):
            found[f"blk.{layer}.ffn_{theirs}.weight"] = weights[f"layers.{layer}.{ours}"]
    keys = {"llama__expert_count": None, "llama__expert_used_count": None}
    path.write_bytes(gguf_of(config, found, **keys))
    return path


def _empty_routers(config):
    return {f"layers.{layer}.router": np.zeros((0, 0)) for layer in range(config.n_layers)}


def choices_of(chosen, n_experts):
    """Choices from a list: for each layer, for each token, the experts; all count alike."""
    experts = np.sort(np.array(chosen, np.int64), axis=-1)
    shares = np.full(experts.shape, 1 / experts.shape[2], np.float32)
    return Choices(experts, shares, n_experts)
