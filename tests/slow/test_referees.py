"""Three programs compute every step, and agree: ours, PyTorch by hand, and transformers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

import llama_edu
from llama_edu.config import RopeScaling
from llama_edu.experiments.reconcile import reconcile
from llama_edu.reconcile.detective import first_divergence
from llama_edu.reconcile.detective import reconcile as reconcile_steps
from llama_edu.reconcile.fingerprint import STORED, make_fingerprint, read_fingerprint
from llama_edu.reconcile.reference import float64_reference, reference_of
from llama_edu.reconcile.trace import trace
from llama_edu.rope import rope_frequencies

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:::(torch|transformers)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

GOLDEN = Path(__file__).parents[1] / "golden" / "stories260K_steps.npz"

CHANGES = [
    {},
    {"n_kv_heads": 3, "head_dim": 6},
    {"rope_theta": 5e4, "rope_scaling": RopeScaling("linear", 2.5)},
    {"rope_theta": 5e4, "rope_scaling": RopeScaling("llama3", 8.0, 1.0, 4.0, 32)},
]


def whole(a, b):
    """|a - b| / |b|."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.fixture
def torch_by_hand():
    pytest.importorskip("torch")
    from llama_edu.reconcile.referees import torch_by_hand

    return torch_by_hand


@pytest.fixture
def hooks():
    pytest.importorskip("transformers")
    from llama_edu.reconcile.referees import transformers_hooks

    return transformers_hooks


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("changes", CHANGES, ids=["plain", "own head_dim", "linear", "llama3"])
def test_two_definitions_in_float64_agree_to_its_last_digits(torch_by_hand, changes, seed):
    model, tokens = random_model(seed, **changes), random_text(seed)
    ours = float64_reference(model, tokens).steps
    theirs = dict(torch_by_hand.steps(model, tokens))
    assert list(ours) == list(theirs)
    for name, x in theirs.items():
        finite = np.isfinite(x)
        np.testing.assert_array_equal(finite, np.isfinite(ours[name]))
        assert whole(ours[name][finite], x[finite]) < 1e-13, name


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("changes", CHANGES, ids=["plain", "own head_dim", "linear", "llama3"])
def test_transformers_agrees_at_every_step_that_its_hooks_see(hooks, changes, seed):
    model, tokens = random_model(seed, **changes), random_text(seed)
    theirs = hooks.steps(model, tokens)
    report = reconcile_steps(theirs, tokens, float64_reference(model, tokens), "transformers")
    assert report.agrees, report
    assert len(report.steps) == 3 * 14 + 3


@pytest.mark.parametrize("against", ["float64", "torch", "transformers"])
@pytest.mark.parametrize("name", ["stories", "stories260K.bin", "stories260K.gguf"])
def test_real_models_agree_with_every_referee(request, hooks, name, against):
    path = None if name == "stories" else request.getfixturevalue("real") / "models" / name
    result = reconcile(path, against)
    print(f"{name} against {against}: logits {result.logits_error:.1e}, largest ratio "
          f"{max(step.ratio for step in result.steps):.1f}")  # fmt: skip
    assert result.agrees and result.logits_error < 2e-6


def test_torch_finds_a_planted_bug_too(torch_by_hand):
    from llama_edu.reconcile.bugs import plant

    model, tokens = random_model(1), random_text(1)
    reference = reference_of(
        "torch", tokens, torch_by_hand.steps(model, tokens),
        torch_by_hand.steps(model, tokens, "float32"),
    )  # fmt: skip
    assert first_divergence(trace(model, tokens), reference) is None
    planted = plant("late-mask", model)
    found = first_divergence(trace(planted.model, tokens, tap=planted.tap), reference)
    assert found is not None and found.name == "layers.0.weights"


def test_divisors_that_transformers_cannot_state_are_refused(hooks):
    from dataclasses import replace

    model = random_model(0)
    stretched = replace(model, frequencies=rope_frequencies(model.config, np.float32([1, 3])))
    with pytest.raises(llama_edu.LlamaEduError, match="stores divisors of RoPE's frequencies"):
        hooks.steps(stretched, random_text(0))


@pytest.mark.parametrize("path", [STORED / "stories.npz", GOLDEN], ids=["stories", "260K"])
def test_the_stored_fingerprints_are_what_torch_computes(request, torch_by_hand, path):
    tool = Path(__file__).parents[2] / "tools" / "make_fingerprints.py"
    spec = importlib.util.spec_from_file_location("make_fingerprints", tool)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    file = llama_edu.bundled_checkpoint()
    if path == GOLDEN:
        file = request.getfixturevalue("real") / "models" / "stories260K.gguf"
    stored = read_fingerprint(path)
    with llama_edu.load(file) as llama:
        assert tuple(llama.tokenizer.encode(made.TEXT)[: made.N_TOKENS]) == stored.tokens
        again = make_fingerprint(
            "torch", llama.config, stored.tokens,
            torch_by_hand.steps(llama.model, stored.tokens),
            torch_by_hand.steps(llama.model, stored.tokens, "float32"),
        )  # fmt: skip
    np.testing.assert_allclose(again.sums, stored.sums, rtol=1e-5, atol=1e-4)
