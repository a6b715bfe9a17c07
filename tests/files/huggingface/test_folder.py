"""Hugging Face folders: one file or several, safetensors or .bin, and what is wrong with them."""

import json

import numpy as np
import pytest
from helpers.huggingface_by_hand import hugging_config, to_huggingface
from helpers.opened import read_huggingface
from helpers.small_models import pth_file, random_weights, small_config

from llama_edu.config import ModelConfig, RopeScaling
from llama_edu.errors import FormatError
from llama_edu.files.huggingface.config_json import (
    assumed_of,
    config_from_json,
    config_to_json,
)
from llama_edu.files.huggingface.folder import is_huggingface_folder, write_huggingface
from llama_edu.files.layout import PlannedTensor
from llama_edu.files.mapped import MappedFile
from llama_edu.files.names import from_ours
from llama_edu.quants.blocks import dequantize


@pytest.fixture
def folder(tmp_path, config, weights):
    """A folder of two shards, written by the safetensors library."""
    library = pytest.importorskip("safetensors.numpy")
    stored = to_huggingface(config, weights)
    names = list(stored)
    weight_map = {}
    for part, chosen in enumerate((names[: len(names) // 3], names[len(names) // 3 :]), 1):
        name = f"model-0000{part}-of-00002.safetensors"
        library.save_file({n: stored[n] for n in chosen}, tmp_path / name)
        weight_map |= dict.fromkeys(chosen, name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / "config.json").write_text(json.dumps(hugging_config(config)))
    return tmp_path


def rewrite(path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_shards_are_read_in_place(folder, config, weights):
    (folder / "tokenizer.json").write_text("{}")
    assert is_huggingface_folder(folder)
    checkpoint = read_huggingface(folder)
    assert [p.name[:11] for p in checkpoint.paths] == ["model-00001", "model-00002"]
    assert vars(checkpoint.config) == {**vars(config), "rope_pairing": "halves"}
    assert checkpoint.tokenizer_path == folder / "tokenizer.json"
    assert "2 files" in checkpoint.format
    stored = to_huggingface(config, weights)
    files = [MappedFile(path) for path in checkpoint.paths]
    for name, spec in checkpoint.tensors.items():
        view = files[spec.file].view(spec)
        assert not view.flags.owndata
        np.testing.assert_array_equal(dequantize(view), stored[from_ours(name, "huggingface")])


def test_a_missing_shard_is_named(folder):
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FormatError, match=r"model-00002-of-00002.safetensors: is missing"):
        read_huggingface(folder)


def test_shards_without_an_index_are_joined_by_their_names(folder, config, weights):
    expected = read_huggingface(folder)
    (folder / "model.safetensors.index.json").unlink()
    assert is_huggingface_folder(folder)
    found = read_huggingface(folder)
    assert (found.paths, found.tensors) == (expected.paths, expected.tensors)
    (folder / "model-00001-of-00003.safetensors").write_bytes(b"")
    with pytest.raises(
        FormatError, match=r"belongs to another set of files, and .*index.json.* is missing"
    ):
        read_huggingface(folder)
    (folder / "model-00001-of-00003.safetensors").unlink()
    (folder / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(
        FormatError, match=r"00001-of-00002.safetensors: is missing, one of 2 files"
    ):
        read_huggingface(folder)


def test_a_whole_file_wins_over_an_index_beside_it(tmp_path, config, weights):
    """As from_pretrained of transformers decides; the shards that the index names are gone."""
    library = pytest.importorskip("safetensors.numpy")
    stored = to_huggingface(config, weights)
    library.save_file(stored, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(hugging_config(config)))
    weight_map = dict.fromkeys(stored, "model-00001-of-00002.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert read_huggingface(tmp_path).paths == (tmp_path / "model.safetensors",)


@pytest.mark.parametrize("name", ["model.rotary_emb.inv_freq", "rotary_emb.original_inv_freq"])
def test_rotations_of_any_level_are_not_needed(tmp_path, config, weights, name):
    library = pytest.importorskip("safetensors.numpy")
    stored = to_huggingface(config, weights) | {name: np.ones(2, np.float32)}
    library.save_file(stored, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(hugging_config(config)))
    assert read_huggingface(tmp_path).ignored == (name,)


@pytest.mark.parametrize(
    ("text", "dim"),
    [
        ('{"hidden_size": 1, %s, "hidden_size": 24}', 24),  # the last counts
        ('{"x": Infinity, "y": [NaN, -Infinity], %s}', 24),
        ("\ufeff{%s}", 24),
    ],
)
def test_config_json_is_read_as_python_reads_it(folder, config, text, dim):
    values = json.dumps(hugging_config(config))[1:-1]
    (folder / "config.json").write_text(text % values, encoding="utf-8")
    found = read_huggingface(folder)
    assert found.config.dim == dim
    assert found.config.vocab_size == json.loads(text.lstrip("\ufeff") % values)["vocab_size"]


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a\\b.safetensors", "x\0.bin", 3, "model.py"]
)
def test_an_index_cannot_lead_out_of_the_folder(folder, name):
    index = folder / "model.safetensors.index.json"
    rewrite(index, weight_map={"model.norm.weight": name})
    with pytest.raises(FormatError, match=r"expected the name of a .safetensors or .bin file"):
        read_huggingface(folder)


def test_an_index_that_lies_is_named(folder):
    index = folder / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    lies = {**weight_map, "lm_head.weight": "model-00001-of-00002.safetensors"}
    if weight_map["lm_head.weight"] == lies["lm_head.weight"]:
        lies["lm_head.weight"] = "model-00002-of-00002.safetensors"
    rewrite(index, weight_map=lies)
    with pytest.raises(FormatError, match=r"has no lm_head.weight, which the index places there"):
        read_huggingface(folder)
    rewrite(index, weight_map={**weight_map, "model.extra.weight": lies["lm_head.weight"]})
    with pytest.raises(FormatError, match=r"has no model.extra.weight"):
        read_huggingface(folder)


def test_a_tensor_in_two_files_is_named(folder, config, weights):
    library = pytest.importorskip("safetensors.numpy")
    both = to_huggingface(config, weights)
    library.save_file(both, folder / "model-00002-of-00002.safetensors")
    with pytest.raises(FormatError, match=r"which model-00001-of-00002.safetensors also has"):
        read_huggingface(folder)


def test_a_folder_without_weights_or_without_output_says_so(tmp_path, config, rng):
    library = pytest.importorskip("safetensors.numpy")
    (tmp_path / "config.json").write_text(json.dumps(hugging_config(config)))
    assert not is_huggingface_folder(tmp_path)
    with pytest.raises(FormatError, match=r"has config.json and no weights"):
        read_huggingface(tmp_path)
    tied = to_huggingface(config, random_weights(config, rng, tied=True))
    library.save_file(tied, tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match=r"has no lm_head.weight, and config.json does not set"):
        read_huggingface(tmp_path)
    rewrite(tmp_path / "config.json", tie_word_embeddings=True)
    assert read_huggingface(tmp_path).tied_output


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "qwen2"}, "model_type is 'qwen2', expected llama or mistral"),
        ({"hidden_size": None}, "hidden_size is missing, expected a whole number"),
        ({"hidden_size": "24"}, "hidden_size is '24', expected a whole number"),
        ({"hidden_size": 2.5}, r"hidden_size is '2.5', expected a whole number"),
        ({"num_hidden_layers": True}, "num_hidden_layers is 'True', expected a whole number"),
        ({"num_attention_heads": 0}, "n_heads is 0"),
        ({"num_key_value_heads": 4}, "not a multiple of n_kv_heads 4"),
        ({"rms_norm_eps": -1}, "norm_eps is -1"),
        ({"rope_theta": "x"}, "rope_theta is 'x', expected a number"),
        ({"attention_bias": True}, "attention_bias is 'True', expected False"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', expected silu or relu"),
        ({"sliding_window": 4096}, "sliding_window is '4096', expected None"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is"),
        ({"rope_scaling": {"type": "yarn"}}, "rope_scaling is of type 'yarn'"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling has factor 'None'"),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "factor 0.0, expected a positive"),
        ({"rope_scaling": [1]}, r"rope_scaling is '\[1\]', expected an object"),
    ],
)
def test_a_config_that_is_not_a_plain_llama_is_named(config, changes, says):
    with pytest.raises(FormatError, match=says) as caught:
        config_from_json(hugging_config(config) | changes, "config.json")
    assert str(caught.value).startswith("config.json: ")


@pytest.mark.parametrize(("stated", "read"), [(..., "silu"), ("silu", "silu"), ("relu", "relu")])
def test_the_activation_is_read_and_written_again(config, stated, read):
    values = hugging_config(config)
    values.pop("hidden_act", None)
    if stated is not ...:
        values["hidden_act"] = stated
    found = config_from_json(values, "config.json")
    assert found.activation == read
    assert config_to_json(found, tied_output=False, dtype="float16")["hidden_act"] == read


def test_a_mistral_takes_the_defaults_of_its_own_config():
    """MistralConfig of transformers has a default for every size; attention slides by default."""
    config = config_from_json({"model_type": "mistral"}, "config.json")
    sizes = (
        config.vocab_size, config.dim, config.hidden_dim, config.n_layers, config.n_heads,
        config.n_kv_heads, config.head_dim, config.max_seq_len, config.rope_theta, config.norm_eps,
    )  # fmt: skip
    assert sizes == (32000, 4096, 14336, 32, 32, 8, 128, 4096, 10000.0, 1e-6)
    assumed = assumed_of({"model_type": "mistral", "hidden_size": 24})
    assert "hidden_dim" in assumed and "n_kv_heads" in assumed and "dim" not in assumed
    assert assumed["max_seq_len"].startswith("only up to the sliding window of 4,096, Mistral")


@pytest.mark.parametrize(("window", "context"), [(..., 4096), (None, 9000), (7, 7), (9001, 9000)])
def test_a_mistral_is_computed_up_to_its_sliding_window(window, context):
    values = {"model_type": "mistral", "max_position_embeddings": 9000}
    if window is not ...:
        values["sliding_window"] = window
    assert config_from_json(values, "config.json").max_seq_len == context
    assert ("max_seq_len" in assumed_of(values)) == (context < 9000)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["llama", "mistral"])
def test_what_is_assumed_is_what_transformers_assumes(model_type):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoConfig.for_model(model_type)
    sizes = {"hidden_size": 64, "intermediate_size": 72, "num_hidden_layers": 3,
             "num_attention_heads": 8, "vocab_size": 40}  # fmt: skip
    values = {"model_type": model_type} | (sizes if model_type == "llama" else {})
    ours = config_from_json(values | {"sliding_window": None}, "config.json")
    assert ours.max_seq_len == theirs.max_position_embeddings
    assert ours.norm_eps == theirs.rms_norm_eps
    assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
    if model_type == "mistral":
        assert (ours.vocab_size, ours.dim, ours.hidden_dim, ours.n_layers) == (
            theirs.vocab_size, theirs.hidden_size, theirs.intermediate_size,
            theirs.num_hidden_layers,
        )  # fmt: skip
        assert (ours.n_heads, ours.n_kv_heads) == (
            theirs.num_attention_heads, theirs.num_key_value_heads,
        )  # fmt: skip
        window = config_from_json({"model_type": "mistral"}, "config.json").max_seq_len
        assert window == theirs.sliding_window


@pytest.mark.parametrize(
    "scaling",
    [None, RopeScaling("linear", 2.0), RopeScaling("llama3", 32.0, 1.5, 3.5, 4096)],
)
def test_a_config_survives_json(scaling):
    config = small_config(head_dim=6, rope_scaling=scaling, rope_theta=5e5, norm_eps=1e-6)
    values = json.loads(json.dumps(config_to_json(config, tied_output=True, dtype="float16")))
    again = config_from_json(values, "config.json")
    assert vars(again) == {**vars(config), "rope_pairing": "halves"}


def test_rope_parameters_of_newer_transformers_are_read(config):
    values = hugging_config(config)
    del values["rope_theta"]
    values["rope_parameters"] = {"rope_type": "linear", "factor": 3.0, "rope_theta": 2e4}
    found = config_from_json(values, "config.json")
    assert (found.rope_theta, found.rope_scaling) == (2e4, RopeScaling("linear", 3.0))


def test_a_folder_that_we_write_we_read(tmp_path, config, weights):
    planned = [PlannedTensor(name, "f32", w.shape) for name, w in weights.items()]
    target = tmp_path / "made"
    write_huggingface(
        target, config, planned, lambda t: weights[t.name],
        {"tokenizer.model": b"not looked into"}, {"bos_token_id": 1, "hidden_size": 99},
    )  # fmt: skip
    checkpoint = read_huggingface(target)
    assert isinstance(checkpoint.config, ModelConfig) and checkpoint.config.dim == config.dim
    assert checkpoint.metadata["bos_token_id"] == 1
    assert checkpoint.tokenizer_path == target / "tokenizer.model"
    assert checkpoint.tokenizer_path.read_bytes() == b"not looked into"
    stored = to_huggingface(config, weights)
    with MappedFile(checkpoint.paths[0]) as mapped:
        for name, spec in checkpoint.tensors.items():
            np.testing.assert_array_equal(
                dequantize(mapped.view(spec)), stored[from_ours(name, "huggingface")]
            )
    assert sorted(p.name for p in target.iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.model"
    ]  # fmt: skip


def test_pytorch_bin_shards_are_read(tmp_path, config, weights):
    stored = to_huggingface(config, weights)
    weight_map = {}
    for i, name in enumerate(stored):
        weight_map[name] = f"pytorch_model-0000{i % 2 + 1}-of-00002.bin"
    for file in set(weight_map.values()):
        chosen = {n: stored[n].astype(np.float16) for n, f in weight_map.items() if f == file}
        (tmp_path / file).write_bytes(pth_file(chosen, top=file.removesuffix(".bin")))
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / "config.json").write_text(json.dumps(hugging_config(config)))
    checkpoint = read_huggingface(tmp_path)
    files = [MappedFile(path) for path in checkpoint.paths]
    for name, spec in checkpoint.tensors.items():
        numbers = dequantize(files[spec.file].view(spec))
        np.testing.assert_array_equal(numbers, stored[from_ours(name, "huggingface")])
