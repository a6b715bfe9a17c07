"""Reconciling a file from the command line: it agrees with itself, and a wrong one does not."""

from __future__ import annotations

import builtins
import json

import numpy as np
import pytest
from helpers.small_models import llama2c_v0, random_weights, small_config

from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.errors import RequestError
from llama_edu.experiments.reconcile import reconcile
from llama_edu.experiments.seeded_bugs import seeded_bugs
from llama_edu.reconcile.bugs import BUGS


@pytest.fixture
def model(tmp_path, rng):
    """No fingerprint is stored for it, and it has no vocabulary."""
    config = small_config()
    path = tmp_path / "a model.bin"
    path.write_bytes(llama2c_v0(config, random_weights(config, rng)))
    return path


def test_the_bundled_model_agrees_with_its_stored_fingerprint():
    result = reconcile()
    assert result.agrees and result.first is None and len(result.tokens) == 8
    assert "PyTorch in float64, stored for stories" in str(result)
    assert len(result.steps) == 6 * 17 + 3 and result.logits_error is None


def test_a_model_without_a_fingerprint_is_compared_with_float64(model):
    result = reconcile(model)
    assert result.agrees and result.referee == "numpy in float64" and len(result.tokens) == 24
    assert 0 < result.logits_error < 1e-5
    with pytest.raises(RequestError, match="none is stored for a model with dim 24"):
        reconcile(model, "stored")


def test_the_command_prints_words_or_json(run_cli, model):
    code, out, _ = run_cli("experiment", "reconcile", "--file", model)
    assert code == 0 and "a model.bin against numpy in float64, 24 tokens" in out
    code, out, _ = run_cli("experiment", "reconcile", "--file", model, "--json")
    found = json.loads(out)
    assert found["agrees"] is True and found["steps"][-1]["name"] == "logits"
    code, _, err = run_cli("experiment", "reconcile", "--against", "tensorflow")
    assert code == 2 and "against is 'tensorflow', expected one of stored, float64" in err
    code, _, err = run_cli("experiment", "load-race", "--against", "torch")
    assert code == 2 and "--against: experiment load-race makes no comparison" in err


@pytest.mark.parametrize(
    ("against", "missing", "named"),
    [
        ("torch", "torch", "pip install torch"),
        ("transformers", "torch", "pip install torch"),
        ("llama.cpp", "llama_cpp", "pip install llama-cpp-python"),
    ],
)
def test_a_referee_that_is_not_installed_is_named(monkeypatch, model, against, missing, named):
    real_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == missing:
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RequestError, match=named):
        reconcile(model, against)


def test_seeded_bugs_are_all_found_on_grouped_queries(run_cli, model):
    result = seeded_bugs(model)
    assert [bug.name for bug in result.bugs] == list(BUGS)
    assert all(bug.found == bug.first and bug.ratio > 300 for bug in result.bugs)
    assert result.clean_ratio < 10
    hidden = {bug.name: bug.hidden_from for bug in result.bugs}
    assert "one token" in hidden["positions"] and "one token" not in hidden["eps"]
    assert "one token" not in hidden["kv-head"]  # its own value, from another head
    assert "23 of 23 bugs found at their first step" in str(result)
    code, out, _ = run_cli("experiment", "seeded-bugs", "--file", model, "--json")
    assert code == 0 and len(json.loads(out)["bugs"]) == len(BUGS)


@pytest.mark.slow
def test_a_model_with_equal_heads_cannot_show_a_wrong_mapping():
    bugs = {bug.name: bug for bug in seeded_bugs().bugs}
    kv = bugs.pop("kv-head")
    assert kv.found is None and kv.where == "changes nothing" and len(kv.hidden_from) == 4
    assert all(bug.found == bug.first for bug in bugs.values())
    assert {"loss", "likeliest", "text"} <= set(bugs["eps"].hidden_from)
    assert bugs["heads"].hidden_from == ()


def test_a_fingerprint_accuses_no_file_whose_neurons_are_in_another_order(tmp_path):
    path = tmp_path / "reordered.gguf"
    order = np.tile(np.arange(768)[::-1], (6, 1))
    convert(bundled_checkpoint(), path, to="gguf", layout="side-by-side", order=order)
    found = reconcile(path)
    assert found.agrees and found.referee != "stored" and "float64" in found.referee
    with pytest.raises(RequestError, match="hidden neurons are in another order than those of"):
        reconcile(path, "stored")
