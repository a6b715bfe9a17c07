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


def test_meta_names_equal_an_independent_table():
    assert [from_ours(name, "meta") for name in OUR_NAMES] == [meta_name(n) for n in OUR_NAMES]


def test_a_few_names_of_each_dialect_are_as_published():
    assert to_ours("model.layers.31.mlp.down_proj.weight", "huggingface") == "layers.31.w_down"
    assert to_ours("lm_head.weight", "huggingface") == "output"
    assert to_ours("blk.7.attn_output.weight", "gguf") == "layers.7.wo"
    assert to_ours("layers.79.feed_forward.w3.weight", "meta") == "layers.79.w_up"


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


def test_an_unknown_name_of_ours_is_a_key_error():
    with pytest.raises(KeyError):
        from_ours("layers.0.w1", "meta")
