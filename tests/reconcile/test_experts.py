"""The float64 definition, the detective and the steps of models with experts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.mixtral_by_hand import mixtral_config, mixtral_weights

from llama_edu.errors import RequestError
from llama_edu.reconcile.bugs import plant
from llama_edu.reconcile.detective import first_divergence, local_errors, reconcile
from llama_edu.reconcile.fingerprint import make_fingerprint, stored_fingerprint
from llama_edu.reconcile.reference import float64_reference
from llama_edu.reconcile.trace import Trace, trace, trace_bytes
from llama_edu.rope import rope_frequencies
from llama_edu.transformer.experts import choose
from llama_edu.transformer.model import Model
from llama_edu.transformer.tap import step_names, step_shape, steps_of

TOKENS = list(range(3, 15))


@pytest.fixture(scope="module")
def model():
    config = mixtral_config()
    return Model(config, mixtral_weights(config), rope_frequencies(config))


@pytest.fixture(scope="module")
def reference(model):
    return float64_reference(model, TOKENS)


def test_every_step_is_seen_in_order_and_has_its_shape(model):
    seen = []

    def tap(name, x):
        seen.append((name, x.shape))
        return x

    trace(model, TOKENS, "logits", tap=tap)
    names = steps_of(model.config)
    assert names == step_names(3, experts=True)
    assert seen == [(name, step_shape(name, model.config, len(TOKENS))) for name in names]
    assert step_shape("layers.1.gate", model.config, 7) == (7, 2, 40)


def test_the_size_of_a_trace_is_known_before(model, tmp_path):
    kept = trace(model, TOKENS)
    assert kept.n_bytes == trace_bytes(model.config, len(TOKENS))
    kept.save(tmp_path / "x.npz")
    again = Trace.load(tmp_path / "x.npz")
    assert all(np.array_equal(again[name], x) for name, x in kept.items())


def test_all_steps_agree_with_float64(model, reference):
    assert list(reference.names) == steps_of(model.config)
    assert first_divergence(trace(model, TOKENS), reference) is None
    assert local_errors(model, reference).agrees


def test_shares_that_do_not_add_up_are_found_at_their_step(model, reference):
    found = {}

    def undivided(name, x):
        if name.endswith(".router"):
            found["p"] = x.copy()
        if name.endswith(".shares"):
            return np.take_along_axis(found["p"], choose(found["p"], 2, ""), axis=1)
        return x

    wrong = first_divergence(trace(model, TOKENS, tap=undivided), reference)
    assert wrong is not None and wrong.name == "layers.0.shares"
    assert "not divided by their sum" in str(wrong)


def test_exchanged_experts_are_found_at_their_gate(model, reference):
    weights = dict(model.weights)
    for kind in ("w_gate", "w_up", "w_down"):
        for a, b in ((1, 3), (3, 1)):
            weights[f"layers.1.experts.{a}.{kind}"] = model.weights[f"layers.1.experts.{b}.{kind}"]
    wrong = first_divergence(trace(replace(model, weights=weights), TOKENS), reference)
    assert wrong is not None and wrong.name == "layers.1.gate"


@pytest.mark.parametrize("bug", ["gate-up", "gelu", "one-weight", "norms", "rope-base"])
def test_bugs_can_be_planted_among_experts(model, reference, bug):
    planted = plant(bug, model)
    found = trace(planted.model, TOKENS, tap=planted.tap)
    wrong = reconcile(found, tuple(TOKENS), reference).first
    assert wrong is not None and wrong.name == planted.first


def test_a_fingerprint_of_a_model_without_experts_is_not_taken_for_one_with_them(model):
    says = "only of models without experts, this one has 5 in each layer; compare with float64"
    with pytest.raises(RequestError, match=says):
        stored_fingerprint(model.config)
    with pytest.raises(RequestError, match=says):
        make_fingerprint("x", model.config, TOKENS, (), ())
