"""BOS is in front of a text exactly where the file says so, in every command."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from helpers.small_models import (
    llama2c_v0,
    random_weights,
    small_config,
    small_vocabulary,
    tokenizer_bin,
)

from llama_edu.convert import convert


@pytest.fixture(params=[True, False], ids=["with BOS", "without BOS"])
def adds_bos(request):
    return request.param


@pytest.fixture
def model(in_folder, rng, adds_bos):
    """A GGUF file that says whether a text begins with BOS."""
    (in_folder / "m.bin").write_bytes(
        llama2c_v0(small_config(), random_weights(small_config(), rng))
    )
    (in_folder / "tokenizer.bin").write_bytes(tokenizer_bin(small_vocabulary()))
    flag = {"tokenizer.ggml.add_bos_token": str(adds_bos).lower()}
    convert("m.bin", "m.gguf", to="gguf", tokenizer="tokenizer.bin", set_keys=flag)
    return "m.gguf"


def test_generate_tokenize_and_logits(run_cli, model, adds_bos, in_folder):
    ids = run_cli("tokenize", model, "the fox", "--ids")[1].split()
    assert (ids[0] == "1") == adds_bos
    made = run_cli("generate", model, "--prompt", "the fox", "--n-tokens", 2, "--ids")[1].split()
    assert made[: len(ids)] == ids
    run_cli("logits", model, "--text", "the fox", "--out", "x.npy")
    assert len(np.load(in_folder / "x.npy")) == len(ids)


def test_perplexity(run_cli, model, adds_bos, in_folder):
    (in_folder / "t.txt").write_text("the fox told the fox")
    out = run_cli("perplexity", model, "--text-file", "t.txt", "--context", 5)[1]
    assert ("each begins with BOS" in out) == adds_bos


@pytest.mark.skipif(sys.platform != "linux", reason="pages are measured on Linux")
def test_pages(run_cli, model, adds_bos):
    n_ids = len(run_cli("tokenize", model, "the fox", "--ids")[1].split())
    chosen = ("pages", model, "--n-tokens", 1, "--backend", "faults", "--json")
    assert json.loads(run_cli(*chosen, "--prompt", "the fox")[1])["n_prompt"] == n_ids
    assert json.loads(run_cli(*chosen)[1])["n_prompt"] == 1  # an empty one starts from BOS


def test_an_empty_prompt_starts_from_bos_and_says_so_where_the_file_does_not(
    run_cli, model, adds_bos
):
    code, out, err = run_cli("generate", model, "--n-tokens", 3, "--ids", "--seed", 2)
    assert code == 0 and out.split()[0] == "1"
    assert ("it starts from '<s>' (id 1)" in err) == (not adds_bos)
    _, again, err = run_cli("generate", model, "--n-tokens", 3, "--ids", "--seed", 2,
                            "--prompt", "the")  # fmt: skip
    assert err == "" and again.split()[0] == ("1" if adds_bos else "261")
