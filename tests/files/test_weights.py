"""Which weights a LLaMA has: told in one place for every format."""

from __future__ import annotations

import pytest

from llama_edu.errors import FormatError
from llama_edu.files.layout import TensorSpec
from llama_edu.files.weights import check_tensors, our_name, with_our_names

HARMLESS = (
    ("meta", "rope.freqs"),
    ("meta", "freqs_cos"),
    ("huggingface", "model.layers.3.self_attn.rotary_emb.inv_freq"),
    ("gguf", "blk.2.attn_rot_embd"),
)
OURS = (
    ("meta", "layers.3.attention.wk.weight", "layers.3.wk"),
    ("huggingface", "model.layers.3.self_attn.k_proj.weight", "layers.3.wk"),
    ("gguf", "blk.3.attn_k.weight", "layers.3.wk"),
)


@pytest.mark.parametrize(("dialect", "stored_name", "name"), OURS)
def test_a_stored_name_becomes_ours(dialect, stored_name, name):
    assert our_name(stored_name, dialect, "f") == name


@pytest.mark.parametrize(("dialect", "stored_name"), HARMLESS)
def test_what_nothing_computes_with_has_no_name(dialect, stored_name):
    assert our_name(stored_name, dialect, "f") is None


@pytest.mark.parametrize("dialect", ["meta", "huggingface", "gguf"])
def test_a_tensor_of_another_model_is_refused_in_one_sentence(dialect):
    with pytest.raises(FormatError) as caught:
        our_name("vision.\x1b[2J.weight", dialect, "a.bin")
    assert str(caught.value) == (
        r"a.bin: has a tensor vision.\x1b[2J.weight, which no LLaMA has; this is another kind of "
        "model"
    )


def test_a_copy_of_a_tied_output_is_ignored():
    stored = {
        name: TensorSpec(name, "f32", (2, 2), 0, 16)
        for name in ("model.embed_tokens.weight", "lm_head.weight")
    }
    tensors, ignored = with_our_names(stored, "huggingface", "f", tied_output=True)
    assert list(tensors) == ["token_embedding"] and ignored == ("lm_head.weight",)
    tensors, ignored = with_our_names(stored, "huggingface", "f")
    assert list(tensors) == ["token_embedding", "output"] and ignored == ()


@pytest.mark.parametrize("tied", [False, True])
def test_tensors_are_exactly_those_that_the_sizes_call_for(config, tied):
    tensors = {
        name: TensorSpec(name, "f32", shape, 0, 0)
        for name, shape in config.tensor_shapes(tied_output=tied).items()
    }
    check_tensors(tensors, config, "f")
    with pytest.raises(FormatError, match=r"f: has layers\.3\.wq, which a model of 3 layers does"):
        check_tensors(tensors | {"layers.3.wq": tensors["layers.0.wq"]}, config, "f")
    with pytest.raises(FormatError, match=r"f: layers\.1\.wk has shape \(24, 24\), expected \(8"):
        check_tensors(tensors | {"layers.1.wk": tensors["layers.0.wq"]}, config, "f")
    del tensors["layers.1.wk"]
    with pytest.raises(FormatError, match=r"f: 1 of .* weights are missing, the first is"):
        check_tensors(tensors, config, "f")
