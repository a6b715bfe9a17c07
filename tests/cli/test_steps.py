"""Steps from the command line: saved, listed, and compared between two files."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.small_models import llama2c_v0, names_in, old_config, random_weights, write_meta_folder

import llama_edu
from llama_edu.convert import convert
from llama_edu.reconcile.trace import Trace


@pytest.fixture
def folder(in_folder, rng, sentencepiece_model):
    config = old_config()
    weights = random_weights(config, rng)
    return write_meta_folder(in_folder / "meta", config, weights, tokenizer=sentencepiece_model)


def test_trace_says_how_much_memory_and_saves_the_chosen_steps(run_cli, folder, in_folder):
    chosen = ["--names", "layers.*.out", "logits"]
    code, out, _ = run_cli("trace", folder, "--text", "the fox", *chosen, "--out", "x.npz")
    found = Trace.load("x.npz")
    assert code == 0 and list(found) == ["layers.0.out", "layers.1.out", "logits"]
    first = out.splitlines()[0]
    assert first == f"{len(found.tokens)} tokens: the steps take {found.n_bytes:,} bytes of memory"
    assert "layers.1.out" in out and "x.npz: saved" in out
    assert names_in() == ["meta", "x.npz"]
    with llama_edu.load(folder, kernels="numpy") as llama:  # as trace computes
        assert found.tokens == tuple(llama.tokenizer.encode("the fox"))
        np.testing.assert_array_equal(found["logits"], llama.logits(found.tokens))


def test_trace_lists_its_steps_and_needs_a_text(run_cli, folder):
    code, out, _ = run_cli("trace", folder, "--list")
    assert code == 0 and "layers.N.kq" not in out and "kq_soft_max" in out
    code, _, err = run_cli("trace", folder)
    assert code == 2 and "--text: is missing, expected a text to compute" in err
    code, _, err = run_cli("trace", folder, "--text", "a", "--names", "layer.*")
    assert code == 2 and "no step is called 'layer.*'" in err


def test_two_files_of_one_model_are_compared_step_by_step(run_cli, folder):
    convert(folder, "a.safetensors", to="safetensors", type="f32")  # pairs half a head apart
    convert(folder, "b.gguf", to="gguf", type="q8_0")
    code, out, _ = run_cli("compare", folder, "a.safetensors", "--steps")
    assert code == 0 and "all 37 steps are equal, or differ by rounding" in out
    code, out, _ = run_cli("compare", folder, "b.gguf", "--steps")
    assert code == 1 and "first step that differs: embedding, by " in out
    rows = [line.split() for line in out.splitlines()]
    assert ["layer", "x", "after", "attention", "x", "after", "the", "layer"] in rows
    assert "usual causes" not in out


def test_one_changed_weight_is_placed(run_cli, in_folder, rng):
    config = old_config()
    weights = random_weights(config, rng)
    (in_folder / "a.bin").write_bytes(llama2c_v0(config, weights))
    weights["layers.1.w_gate"][5, 7] += 1
    (in_folder / "b.bin").write_bytes(llama2c_v0(config, weights))
    code, out, _ = run_cli("compare", "a.bin", "b.bin", "--steps")
    assert code == 1 and "first step that differs: layers.1.gate, by " in out


def test_models_of_other_sizes_are_refused(run_cli, in_folder, rng):
    for name, config in (("a.bin", old_config()), ("b.bin", old_config(n_layers=3))):
        (in_folder / name).write_bytes(llama2c_v0(config, random_weights(config, rng)))
    code, _, err = run_cli("compare", "a.bin", "b.bin", "--steps")
    assert code == 2 and "n_layers is 2 in a.bin and 3 in b.bin" in err
