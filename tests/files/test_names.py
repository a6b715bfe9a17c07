"""Foreign names and ours: one to one, in both directions."""

from __future__ import annotations

import pytest
from helpers.small_models import meta_name, small_config

from llama_edu.files.names import from_ours, to_ours

OUR_NAMES = list(small_config().tensor_shapes())


@pytest.mark.parametrize("dialect", ["meta", "huggingface", "gguf"])
def test_every_name_survives_the_round_trip(dialect):
    foreign = [from_ours(name, dialect) for name in OUR_NAMES]
    assert len(set(foreign)) == len(OUR_NAMES)
    assert [to_ours(name, dialect) for name in foreign] == OUR_NAMES


@pytest.mark.parametrize("dialect", ["huggingface", "gguf"])
def test_every_name_of_an_expert_survives_the_round_trip(dialect):
    names = list(small_config(n_experts=12, n_experts_per_token=2).tensor_shapes())
    foreign = [from_ours(name, dialect) for name in names]
    assert len(set(foreign)) == len(names)
    assert [to_ours(name, dialect) for name in foreign] == names


def test_meta_names_equal_an_independent_table():
    assert [from_ours(name, "meta") for name in OUR_NAMES] == [meta_name(n) for n in OUR_NAMES]


def test_a_few_names_of_each_dialect_are_as_published():
    assert to_ours("model.layers.31.mlp.down_proj.weight", "huggingface") == "layers.31.w_down"
    assert to_ours("lm_head.weight", "huggingface") == "output"
    assert to_ours("blk.7.attn_output.weight", "gguf") == "layers.7.wo"
    assert to_ours("layers.79.feed_forward.w3.weight", "meta") == "layers.79.w_up"
    expert = "layers.31.experts.7.w_up"
    assert to_ours("model.layers.31.block_sparse_moe.experts.7.w3.weight", "huggingface") == expert
    assert to_ours("blk.31.ffn_up.7.weight", "gguf") == expert
    assert to_ours("blk.31.ffn_gate_inp.weight", "gguf") == "layers.31.router"
    assert to_ours("model.layers.31.mlp.gate.weight", "huggingface") == "layers.31.router"


@pytest.mark.parametrize(
    "name",
    [
        "", ".weight", "norm", "norm.bias", "rope.freqs", "layers.0.attention.wq",
        "layers.00.attention.wq.weight", "layers.-1.attention.wq.weight",
        "layers.{i}.attention.wq.weight", "layers.1.2.attention_norm.weight",
        "layers.١.ffn_norm.weight", "layers.9999999999.ffn_norm.weight", "token_embedding.weight",
        "model.norm.weight", "layers.0.attention.wq.weight.weight",
    ],
)  # fmt: skip
def test_a_name_that_no_llama_has_is_none(name):
    assert to_ours(name, "meta") is None


@pytest.mark.parametrize(
    "name",
    [
        "blk.0.ffn_up.01.weight", "blk.0.ffn_up.-1.weight", "blk.0.ffn_up.{e}.weight",
        "blk.0.ffn_up.1.2.weight", "blk.0.ffn_up..weight", "blk.0.ffn_norm.1.weight",
        "blk.0.ffn_up.1", "blk.0.1.weight", "blk.0.ffn_gate_shexp.weight", "0.1.weight",
    ],
)  # fmt: skip
def test_a_name_that_no_expert_has_is_none(name):
    assert to_ours(name, "gguf") is None


@pytest.mark.parametrize("name", ["layers.0.router", "layers.0.experts.0.w_up"])
def test_meta_has_no_name_for_experts(name):
    with pytest.raises(KeyError, match="has no name in meta"):
        from_ours(name, "meta")


def test_an_unknown_name_of_ours_is_a_key_error():
    with pytest.raises(KeyError):
        from_ours("layers.0.w1", "meta")
