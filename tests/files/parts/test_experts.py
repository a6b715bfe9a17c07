"""Files with experts, in both layouts of both families: each expert is a weight, read in place."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.gguf_by_hand import Gguf
from helpers.mixtral_by_hand import (
    LAYOUTS,
    gguf_of,
    gguf_tensors,
    huggingface_tensors,
    mixtral_config,
    mixtral_json,
    mixtral_weights,
    write_gguf,
    write_huggingface,
)
from helpers.opened import read_gguf, read_huggingface, read_safetensors
from helpers.random_blocks import random_blocks
from helpers.small_models import pth_file

from llama_edu.errors import FormatError
from llama_edu.files.layout import TensorSpec
from llama_edu.files.mapped import MappedFile
from llama_edu.files.weights import our_tensors
from llama_edu.loading import load

CONFIG = mixtral_config()
WEIGHTS = mixtral_weights(CONFIG)
WRITERS = {"GGUF": write_gguf, "Hugging Face": write_huggingface}


def check_weights(path):
    """Every weight has the numbers that were written, as a view of the file."""
    with load(path) as llama:
        assert set(llama.weights) == set(WEIGHTS)
        assert llama.loading.copied_bytes == 0
        for name, expected in WEIGHTS.items():
            found = llama.weights[name]
            assert not found.flags.owndata
            if name.rpartition(".")[2] not in ("wq", "wk"):  # rows in the file's own order
                np.testing.assert_array_equal(found, expected, err_msg=name)
            del found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", WRITERS)
def test_every_expert_is_a_view_of_the_file(tmp_path, family, layout):
    check_weights(WRITERS[family](tmp_path, CONFIG, WEIGHTS, layout))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_big_endian_gguf_with_experts_is_read(tmp_path, layout):
    check_weights(write_gguf(tmp_path, CONFIG, WEIGHTS, layout, g=Gguf(">")))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_experts_in_pytorch_files_are_read(tmp_path, layout):
    write_huggingface(tmp_path, CONFIG, WEIGHTS, layout)
    (tmp_path / "hf" / "model.safetensors").unlink()
    stored = huggingface_tensors(CONFIG, WEIGHTS, layout)
    data = pth_file({n: np.ascontiguousarray(x) for n, x in stored.items()}, top="pytorch_model")
    (tmp_path / "hf" / "pytorch_model.bin").write_bytes(data)
    check_weights(tmp_path / "hf")


@pytest.mark.parametrize("mmap", [True, False])
def test_all_four_compute_the_same_numbers(tmp_path, mmap):
    found = []
    for family, write in WRITERS.items():
        for layout in LAYOUTS:
            (tmp_path / family / layout).mkdir(parents=True)
            with load(write(tmp_path / family / layout, CONFIG, WEIGHTS, layout), mmap=mmap) as one:
                found.append(one.logits(range(3, 12)))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=2e-6 * np.abs(found[0]).max())


def test_a_spec_says_in_which_tensor_an_expert_lies(tmp_path):
    for layout, stored in (("one tensor", "ffn_up_exps"), ("a tensor each", "ffn_up.3")):
        spec = read_gguf(write_gguf(tmp_path, CONFIG, WEIGHTS, layout)).tensors[
            "layers.2.experts.3.w_up"
        ]
        assert spec.stored_name == f"blk.2.{stored}.weight"
        assert spec.shape == (40, 24) and spec.n_bytes == 4 * 40 * 24


def test_experts_of_a_block_type_begin_at_whole_blocks(tmp_path):
    config = mixtral_config(dim=96, hidden_dim=64)
    tensors = gguf_tensors(config, mixtral_weights(config), "one tensor")
    blocks, types = {}, {}
    for name, array in tensors.items():
        if "_exps" in name:
            n_experts, rows, columns = array.shape
            made = random_blocks("q8_0", n_experts * rows, columns)
            blocks[name] = made.reshape(n_experts, rows, -1)
            tensors[name], types[name] = blocks[name].view(np.uint8), 8
    (tmp_path / "model.gguf").write_bytes(gguf_of(config, tensors, types=types))
    checkpoint = read_gguf(tmp_path / "model.gguf")
    with MappedFile(tmp_path / "model.gguf") as file:
        for expert in range(5):
            view = file.view(checkpoint.tensors[f"layers.1.experts.{expert}.w_down"])
            assert np.array_equal(view, blocks["blk.1.ffn_down_exps.weight"][expert])
            del view


def test_a_checkpoint_says_how_many_parameters_compute_a_token(tmp_path):
    checkpoint = read_gguf(write_gguf(tmp_path, CONFIG, WEIGHTS, "one tensor"))
    n = sum(x.size for x in WEIGHTS.values())
    assert checkpoint.n_parameters == n
    assert checkpoint.n_active_parameters == n - 3 * 3 * (3 * 24 * 40)


def test_more_experts_than_are_accepted_are_refused_before_they_are_listed():
    config = mixtral_config(n_layers=3, n_experts=20_000)
    stored = TensorSpec("blk.0.ffn_up_exps.weight", "f32", (20_000, 40, 24), 0, 4 * 20_000 * 960)
    with pytest.raises(FormatError, match=r"3 layers with 20,000 experts each, .* at most 32,768"):
        our_tensors(stored, "gguf", "f", config)


# --- config.json --------------------------------------------------------------------------------


def read_with(folder, **changes):
    return read_huggingface(write_huggingface(folder, CONFIG, WEIGHTS, "one tensor", **changes))


def test_what_a_config_json_leaves_out_is_assumed_as_transformers_does(tmp_path):
    left_out = dict.fromkeys(("rope_theta", "rms_norm_eps", "num_experts_per_tok"), ...)
    found = read_with(tmp_path, **left_out)
    assert (found.config.rope_theta, found.config.norm_eps) == (1e6, 1e-5)
    assert found.config.n_experts_per_token == 2
    assert found.assumed == {
        "rope_theta": "config.json does not state rope_theta; MixtralConfig's default",
        "norm_eps": "config.json does not state rms_norm_eps; MixtralConfig's default",
        "n_experts_per_token": (
            "config.json does not state num_experts_per_tok; MixtralConfig's default"
        ),
    }


def test_a_base_in_an_object_of_its_own_is_stated(tmp_path):
    rope = {"rope_theta": 5e5, "rope_type": "default"}
    found = read_with(tmp_path, rope_theta=..., rope_parameters=rope)
    assert found.config.rope_theta == 5e5 and "rope_theta" not in found.assumed


def test_a_sliding_window_ends_the_context(tmp_path):
    assert read_with(tmp_path).config.max_seq_len == 50
    found = read_with(tmp_path, sliding_window=16)
    assert found.config.max_seq_len == 16
    assert found.assumed == {"max_seq_len": "only up to the sliding window of 16"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_local_experts": 0}, "num_local_experts is 0, expected 1 or more in a Mixtral"),
        ({"num_local_experts": -1}, "n_experts is -1, expected 0 to"),
        ({"num_local_experts": 6}, "holds 5 experts, expected 6 by the sizes of the model"),
        ({"num_local_experts": ...}, "holds 5 experts, expected 8 by the sizes of the model"),
        ({"num_local_experts": "5"}, "num_local_experts is '5', expected a whole number"),
        ({"num_local_experts": 2**31 - 1}, "holds 5 experts, expected 2,147,483,647"),
        ({"num_experts_per_tok": 0}, "n_experts_per_token is 0, expected 1 to n_experts 5"),
        ({"num_experts_per_tok": 6}, "n_experts_per_token is 6, expected 1 to n_experts 5"),
        ({"model_type": "llama"}, "states experts and model_type 'llama', expected 'mixtral'"),
        ({"model_type": "qwen3_moe"}, "model_type is 'qwen3_moe', expected llama or mistral or"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', expected silu or relu"),
        ({"num_hidden_layers": 2}, "is one of 2 layers with 5 experts each, expected a layer"),
        ({"intermediate_size": 44}, r"w_gate has shape \(40, 24\), expected \(44, 24\)"),
    ],
)
def test_a_config_json_that_contradicts_the_experts_is_refused(tmp_path, changes, says):
    with pytest.raises(FormatError, match=says):
        read_with(tmp_path, **changes)


def test_a_file_alone_says_its_experts_itself(tmp_path):
    from llama_edu.convert import convert

    source = write_huggingface(tmp_path, CONFIG, WEIGHTS, "one tensor")
    convert(source, tmp_path / "alone.safetensors", to="safetensors")
    found = read_safetensors(tmp_path / "alone.safetensors").config
    assert (found.n_experts, found.n_experts_per_token) == (5, 2)


def test_a_router_under_both_of_its_names_is_refused(tmp_path):
    from safetensors.numpy import save_file

    stored = huggingface_tensors(CONFIG, WEIGHTS, "one tensor")
    stored["model.layers.1.block_sparse_moe.gate.weight"] = WEIGHTS["layers.1.router"].copy()
    save_file(
        {n: np.ascontiguousarray(x) for n, x in stored.items()}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps(mixtral_json(CONFIG)))
    with pytest.raises(FormatError, match=r"has layers\.1\.router twice, as .* and as .*once"):
        read_huggingface(tmp_path)


def test_experts_of_a_type_that_cannot_be_computed_with_are_named(tmp_path):
    from safetensors.numpy import save_file

    stored = huggingface_tensors(CONFIG, WEIGHTS, "one tensor")
    stored["model.layers.0.mlp.experts.down_proj"] = np.zeros((5, 24, 40), np.uint8)
    save_file(
        {n: np.ascontiguousarray(x) for n, x in stored.items()}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps(mixtral_json(CONFIG)))
    with pytest.raises(FormatError, match=r"experts\.down_proj has a type that this package cann"):
        read_huggingface(tmp_path)


# --- GGUF ---------------------------------------------------------------------------------------

G = Gguf()


def key(name: str, value, kind: str = "u32") -> dict[str, bytes]:
    return {f"llama__{name}": G.kv(f"llama.{name}", kind, value)}


def without(*names: str):
    def change(tensors):
        return {n: x for n, x in tensors.items() if not any(part in n for part in names)}

    return change


def instead(name: str, change):
    return lambda tensors: tensors | {name: change(tensors[name])}


def same(tensors):
    return tensors


DAMAGED = [
    ("expert_count 0", key("expert_count", 0) | key("expert_used_count", 0), same,
     "ffn_gate_exps.weight holds 5 experts, expected 0 by the sizes of the model",
     "has layers.0.router, and its sizes state no experts"),
    ("expert_count 0 and 2 of them used", key("expert_count", 0), same,
     "n_experts_per_token is 2 and there are no experts", None),
    ("a negative expert_count", key("expert_count", -1, "i32"), same,
     "n_experts is -1, expected 0 to 2,147,483,647", None),
    ("an expert_count beyond the tensors", key("expert_count", 6), same,
     "holds 5 experts, expected 6 by", "none for expert 5 of 6 in layer 0"),
    ("an expert_count below the tensors", key("expert_count", 4), same,
     "holds 5 experts, expected 4 by", "experts.4.w_gate, which a model of 3 layers does not have"),
    ("a huge expert_count", key("expert_count", 2**31 - 1), same,
     "holds 5 experts, expected 2,147,483,647", "none for expert 5 of 2,147,483,647 in layer 0"),
    ("an expert_count that is no number", key("expert_count", "5", "string"), same,
     "key llama.expert_count is of type string, expected a whole number", None),
    ("none used", key("expert_used_count", 0), same,
     "n_experts_per_token is 0, expected 1 to n_experts 5", None),
    ("more used than there are", key("expert_used_count", 6), same,
     "n_experts_per_token is 6, expected 1 to n_experts 5", None),
    ("how many are used is not said", {"llama__expert_used_count": None}, same,
     "key llama.expert_used_count is missing, expected a whole number", None),
    ("another rule", key("expert_gating_func", 2), same,
     "llama.expert_gating_func is '2', expected 1; only experts as in Mixtral", None),
    ("shares that are not made to add up", key("expert_weights_norm", False, "bool"), same,
     "llama.expert_weights_norm is 'False', expected True", None),
    ("a shared expert", key("expert_shared_count", 1), same,
     "llama.expert_shared_count is '1', expected 0", None),
    ("the tensors of a shared expert", {},
     lambda t: t | {"blk.0.ffn_gate_shexp.weight": t["output_norm.weight"]},
     "has a tensor blk.0.ffn_gate_shexp.weight, which no LLaMA has", None),
    ("no router", {}, without("blk.1.ffn_gate_inp"),
     "1 of .* weights are missing, the first is layers.1.router", None),
    ("a router for another number", {}, instead("blk.1.ffn_gate_inp.weight", lambda x: x[:4]),
     r"layers.1.router has shape \(4, 24\), expected \(5, 24\)", None),
    ("a router that is a vector", {}, instead("blk.1.ffn_gate_inp.weight", lambda x: x[0]),
     r"layers.1.router has shape \(24,\), expected \(5, 24\)", None),
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", DAMAGED, ids=lambda case: case[0])
def test_a_gguf_that_contradicts_its_experts_is_refused(tmp_path, case, layout):
    _, changes, change, says, says_of_each = case
    tensors = change(gguf_tensors(CONFIG, WEIGHTS, layout))
    (tmp_path / "model.gguf").write_bytes(gguf_of(CONFIG, tensors, **changes))
    expected = says if layout == "one tensor" or says_of_each is None else says_of_each
    with pytest.raises(FormatError, match=expected):
        read_gguf(tmp_path / "model.gguf")


STACK = "blk.1.ffn_up_exps.weight"


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (STACK, lambda x: x[:4], "ffn_up_exps.weight holds 4 experts, expected 5"),
        (STACK, lambda x: x[0], r"ffn_up_exps.weight has shape \(40, 24\), expected three axes"),
        (STACK, lambda x: x[:, :39], r"experts.0.w_up has shape \(39, 24\), expected \(40, 24\)"),
        (STACK, lambda x: x[:, :0], r"has shape \(5, 0, 24\), expected 1 matrices"),
        (STACK, lambda x: x[:, :, :0], r"has shape \(5, 40, 0\), expected 1 matrices"),
    ],
)
def test_stacked_experts_of_another_shape_are_refused(tmp_path, name, change, says):
    tensors = instead(name, change)(gguf_tensors(CONFIG, WEIGHTS, "one tensor"))
    (tmp_path / "model.gguf").write_bytes(gguf_of(CONFIG, tensors))
    with pytest.raises(FormatError, match=says):
        read_gguf(tmp_path / "model.gguf")


@pytest.mark.parametrize(
    ("missing", "layout", "says"),
    [
        ("blk.2.ffn_up_exps", "one tensor", "weights are missing, the first is layers.2.experts.0"),
        ("blk.2.ffn_up.3.", "a tensor each", "the first is layers.2.experts.3.w_up"),
        (".3.weight", "a tensor each", "none for expert 3 of 5 in layer 0"),
        ("blk.1.", "a tensor each", "none for layer 1"),
        ("blk.1.", "one tensor", "none for layer 1"),
    ],
)
def test_a_file_with_some_experts_missing_is_refused(tmp_path, missing, layout, says):
    tensors = without(missing)(gguf_tensors(CONFIG, WEIGHTS, layout))
    (tmp_path / "model.gguf").write_bytes(gguf_of(CONFIG, tensors))
    with pytest.raises(FormatError, match=says):
        read_gguf(tmp_path / "model.gguf")


def test_a_dense_layer_beside_experts_is_refused(tmp_path):
    tensors = gguf_tensors(CONFIG, WEIGHTS, "one tensor")
    tensors["blk.0.ffn_up.weight"] = WEIGHTS["layers.0.experts.0.w_up"]
    (tmp_path / "model.gguf").write_bytes(gguf_of(CONFIG, tensors))
    with pytest.raises(FormatError, match=r"has layers\.0\.w_up, which a model of 3 layers does"):
        read_gguf(tmp_path / "model.gguf")
