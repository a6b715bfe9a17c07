"""Models with experts, converted: every layout to every target, and every type."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.mixtral_by_hand import (
    LAYOUTS,
    gguf_of,
    gguf_tensors,
    huggingface_tensors,
    mixtral_config,
    mixtral_json,
    mixtral_weights,
    write_gguf,
)
from helpers.mixtral_by_hand import write_huggingface as write_folder

from llama_edu.convert import convert
from llama_edu.convert.planning import TYPES
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.gguf.header import read_header
from llama_edu.loading import load
from llama_edu.quants.blocks import BLOCK_TYPES, dequantize
from llama_edu.quants.quantize import quantize

CONFIG = mixtral_config(dim=96, hidden_dim=64, n_layers=2, vocab_size=300)
WEIGHTS = mixtral_weights(CONFIG)


def write_huggingface(folder, config, weights, layout, tokenizer=None):
    made = write_folder(folder, config, weights, layout)
    if tokenizer is not None:
        (made / "tokenizer.model").write_bytes(tokenizer.read_bytes())
    return made


def write_source(family, folder, layout, tokenizer):
    if family == "GGUF":
        return write_gguf(folder, CONFIG, WEIGHTS, layout)
    return write_huggingface(folder, CONFIG, WEIGHTS, layout, tokenizer)


FAMILIES = ("GGUF", "Hugging Face")
TOKENS = list(range(3, 12))


def infos_of(path):
    return {info.name: info for info in read_header(path.read_bytes(), path).infos}


def logits_of(path):
    with load(path, kernels="numpy") as llama:
        return llama.logits(TOKENS)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("to", ["gguf", "safetensors"])
def test_every_layout_becomes_every_format(tmp_path, family, layout, to, sentencepiece_model):
    source = write_source(family, tmp_path, layout, sentencepiece_model)
    made = tmp_path / "made"
    conversion = convert(source, made, to=to)
    said = {loss.partition(":")[0] for loss in conversion.losses}
    assert said <= {"vocabulary", "vocabulary.doubles_space", "tokenizer.ggml.model"}, said
    expected = logits_of(source)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits_of(made), expected, rtol=0, atol=2e-6 * scale)
    with load(source) as a, load(made) as b:
        for name in WEIGHTS:
            if name.rpartition(".")[2] not in ("wq", "wk"):
                assert np.array_equal(a.weights[name], b.weights[name]), name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gguf_has_one_tensor_for_the_experts_of_a_layer(tmp_path, layout):
    source = write_gguf(tmp_path, CONFIG, WEIGHTS, layout)
    convert(source, tmp_path / "made.gguf", to="gguf", type="f16")
    infos = infos_of(tmp_path / "made.gguf")
    assert set(infos) == set(gguf_tensors(CONFIG, WEIGHTS, "one tensor"))
    down = infos["blk.1.ffn_down_exps.weight"]
    assert (down.type, down.shape) == ("f16", (5, 96, 64))
    assert infos["blk.1.ffn_gate_inp.weight"].type == "f32"


def test_experts_in_another_order_are_written_by_their_numbers(tmp_path):
    tensors = dict(reversed(gguf_tensors(CONFIG, WEIGHTS, "a tensor each").items()))
    source, made = tmp_path / "source.gguf", tmp_path / "made.gguf"
    source.write_bytes(gguf_of(CONFIG, tensors))
    convert(source, made, to="gguf")
    header = read_header(made.read_bytes(), made)
    info = infos_of(made)["blk.0.ffn_up_exps.weight"]
    data = np.fromfile(made, "<f4", 5 * 64 * 96, offset=header.data_offset + info.offset)
    expected = np.stack([WEIGHTS[f"layers.0.experts.{e}.w_up"] for e in range(5)])
    assert np.array_equal(data.reshape(5, 64, 96), expected)


@pytest.mark.parametrize("type_name", [name for name in TYPES if name != "keep"])
def test_every_type_is_written_expert_by_expert(tmp_path, type_name, sentencepiece_model):
    config, weights = CONFIG, WEIGHTS
    if BLOCK_TYPES[type_name].block_size == 256:  # rows of whole blocks
        config = mixtral_config(dim=256, hidden_dim=512, n_heads=8, n_layers=1, vocab_size=300)
        weights = mixtral_weights(config)
    source = write_huggingface(tmp_path, config, weights, "one tensor", sentencepiece_model)
    convert(source, tmp_path / "made.gguf", to="gguf", type=type_name)
    checkpoint = read_checkpoint(tmp_path / "made.gguf")
    with load(tmp_path / "made.gguf") as llama:
        for name, spec in checkpoint.tensors.items():
            if ".experts." in name:
                assert spec.type == type_name
                expected = quantize(weights[name], type_name, where=name)
                assert np.array_equal(dequantize(llama.weights[name]), dequantize(expected))
            elif name.endswith(".router"):
                assert spec.type == "f32"
                assert np.array_equal(llama.weights[name], weights[name])


def test_kept_types_stay_and_routers_become_f32(tmp_path):
    halves = {n: x.astype(np.float16) if x.ndim == 2 else x for n, x in WEIGHTS.items()}
    source = write_gguf(tmp_path, CONFIG, halves, "a tensor each")
    convert(source, tmp_path / "made.gguf", to="gguf")
    types = {name: spec.type for name, spec in read_checkpoint(tmp_path / "made.gguf").tensors
             .items()}  # fmt: skip
    assert types["layers.1.experts.4.w_down"] == "f16" and types["layers.1.router"] == "f32"
    convert(source, tmp_path / "made", to="safetensors")
    assert read_checkpoint(tmp_path / "made").tensors["layers.1.router"].type == "f16"


def test_experts_of_several_types_are_refused_by_name(tmp_path):
    tensors = gguf_tensors(CONFIG, WEIGHTS, "a tensor each")
    tensors["blk.1.ffn_up.3.weight"] = tensors["blk.1.ffn_up.3.weight"].astype(np.float16)
    (tmp_path / "model.gguf").write_bytes(gguf_of(CONFIG, tensors))
    says = r"blk\.1\.ffn_up_exps\.weight: the experts have types f16 and f32, expected one for all"
    with pytest.raises(RequestError, match=says):
        convert(tmp_path / "model.gguf", tmp_path / "made.gguf", to="gguf")
    assert not (tmp_path / "made.gguf").exists()
    convert(tmp_path / "model.gguf", tmp_path / "made.gguf", to="gguf", type="f16")
    assert "blk.1.ffn_up_exps.weight" in infos_of(tmp_path / "made.gguf")


@pytest.mark.parametrize("to", ["ggml", "ggmf", "ggjt-v1", "ggjt-v3"])
def test_a_format_without_experts_refuses_them_by_name(tmp_path, to):
    source = write_gguf(tmp_path, CONFIG, WEIGHTS, "one tensor")
    with pytest.raises(FormatError, match="5 experts"):
        convert(source, tmp_path / "made.bin", to=to)


def test_a_folder_says_that_it_is_a_mixtral(tmp_path):
    source = write_gguf(tmp_path, CONFIG, WEIGHTS, "one tensor")
    convert(source, tmp_path / "made", to="safetensors")
    values = json.loads((tmp_path / "made" / "config.json").read_text())
    assert values["architectures"] == ["MixtralForCausalLM"] and values["model_type"] == "mixtral"
    assert (values["num_local_experts"], values["num_experts_per_tok"]) == (5, 2)
    assert values["sliding_window"] is None and "mlp_bias" not in values


def test_f64_routers_are_said_to_be_rounded(tmp_path):
    from safetensors.numpy import save_file

    stored = huggingface_tensors(CONFIG, WEIGHTS, "a tensor each")
    name = "model.layers.0.block_sparse_moe.gate.weight"
    stored[name] = stored[name].astype(np.float64)
    save_file(
        {n: np.ascontiguousarray(x) for n, x in stored.items()}, tmp_path / "model.safetensors"
    )
    (tmp_path / "config.json").write_text(json.dumps(mixtral_json(CONFIG)))
    losses = convert(tmp_path, tmp_path / "made", to="safetensors", type="f32").losses
    assert "layers.0.router: f64 is rounded to f32" in losses


def test_compare_finds_the_expert_that_differs(tmp_path, run_cli):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    a = write_gguf(tmp_path / "a", CONFIG, WEIGHTS, "one tensor")
    changed = WEIGHTS | {"layers.1.experts.3.w_up": WEIGHTS["layers.1.experts.3.w_up"] + 1}
    b = write_huggingface(tmp_path / "b", CONFIG, changed, "one tensor")
    code, out, _ = run_cli("compare", a, b)
    assert code == 1 and "layers.1.experts.3.w_up" in out
    b = write_huggingface(tmp_path / "b", CONFIG, WEIGHTS, "a tensor each")
    code, out, _ = run_cli("compare", a, b, "--tolerance", "1e-4")
    assert code == 0 and "47 of 47 equal" in out


def test_inspect_says_what_a_token_needs(tmp_path, run_cli):
    source = write_gguf(tmp_path, CONFIG, WEIGHTS, "one tensor")
    n = sum(x.size for x in WEIGHTS.values())
    active = n - 2 * 3 * 3 * 96 * 64
    _, out, _ = run_cli("inspect", source)
    assert f"{n:,} parameters, 2 layers" in out
    assert f"experts     5 in each layer, 2 of them for one token: {active:,} of the par" in out
    _, out, _ = run_cli("inspect", source, "--json")
    facts = json.loads(out)
    assert (facts["n_parameters"], facts["n_active_parameters"]) == (n, active)
    assert facts["config"]["n_experts"] == 5


def test_a_loss_is_measured(tmp_path, run_cli):
    source = write_gguf(tmp_path, CONFIG, WEIGHTS, "one tensor")
    (tmp_path / "text.txt").write_text("abc " * 30)
    code, out, _ = run_cli("perplexity", source, "--text-file", tmp_path / "text.txt")
    assert code == 0 and "nats" in out
