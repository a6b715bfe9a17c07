"""Planted bugs are found at their first step; nothing is found where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import reference as slow_twin
from helpers.random_models import random_model, random_text

from llama_edu.errors import RequestError
from llama_edu.reconcile.bugs import BUGS, plant
from llama_edu.reconcile.detective import (
    ALARM,
    CAUSES,
    first_divergence,
    local_errors,
    reconcile,
)
from llama_edu.reconcile.reference import float64_reference, relative_errors
from llama_edu.reconcile.trace import trace
from llama_edu.transformer.tap import step_names


def checked_model(seed):
    """A model, its text and what float64 makes of it."""
    model, tokens = random_model(seed), random_text(seed)
    return model, tokens, float64_reference(model, tokens)


@pytest.fixture(scope="module")
def subject():
    return checked_model(1)


def test_the_definition_agrees_with_the_slow_twin_which_is_loops_over_floats():
    for seed in (0, 1):
        model, tokens, reference = checked_model(seed)
        expected = slow_twin.forward(model.config, model.weights, tokens)
        np.testing.assert_allclose(reference.steps["logits"], expected, rtol=1e-10, atol=1e-10)
        assert list(reference.names) == step_names(model.config.n_layers)


def false_alarms(seeds):
    found, largest = [], 0.0
    for seed in seeds:
        model, tokens, reference = checked_model(seed)
        whole = reconcile(trace(model, tokens), tokens, reference)
        local = local_errors(model, reference)
        largest = max(largest, *(float(s.ratios.max()) for s in (*whole.steps, *local.steps)))
        found += [seed for r in (whole, local) if not r.agrees]
    return found, largest


def test_nothing_is_found_in_a_dozen_models_without_a_bug():
    found, largest = false_alarms(range(12))
    assert found == [] and largest < ALARM / 3


@pytest.mark.slow
def test_nothing_is_found_in_a_hundred_models_without_a_bug():
    found, largest = false_alarms(range(100))
    print(f"largest ratio of 100 models without a bug: {largest:.1f}")
    assert found == [] and largest < ALARM / 3


@pytest.mark.parametrize("seed", [0, 1, 4])
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found_at_its_first_step(name, seed):
    model, tokens, reference = checked_model(seed)
    planted = plant(name, model)
    found = first_divergence(trace(planted.model, tokens, tap=planted.tap), reference)
    assert found is not None and found.name == planted.first
    assert found.ratios.max() > 10 * ALARM


@pytest.mark.parametrize("name", [n for n in BUGS if n not in ("layer-skipped", "layer-order")])
def test_given_the_right_input_only_the_broken_steps_are_wrong(subject, name):
    model, _, reference = subject
    planted = plant(name, model)
    kind = planted.first.rpartition(".")[2]
    local = local_errors(planted.model, reference, tap=planted.tap)
    kinds = {step.name.rpartition(".")[2] for step in local.wrong}
    together = {
        "eps": {"attention_norm", "ffn_norm", "final_norm"},
        "rope-pairing": {"q_rope", "k_rope"},
        "rope-base": {"q_rope", "k_rope"},
        "rope-backwards": {"q_rope", "k_rope"},
        "positions": {"q_rope", "k_rope"},
        "kv-head": {"scores", "mixed"},
        "gate-up": {"gate", "up"},
        "key-value": {"k", "v"},
        "norms": {"attention_norm", "ffn_norm"},
    }
    if name == "eps":  # where x has grown large, eps changes less than float32 does
        kinds.add("final_norm")
    assert kinds == together.get(name, {kind})
    assert local.wrong[0].name == planted.first


def test_two_bugs_at_once_are_both_named(subject):
    model, tokens, reference = subject
    one = plant("one-weight", model)
    both = plant("positions", one.model)
    alone = reconcile(trace(both.model, tokens, tap=both.tap), tokens, reference)
    assert alone.first is not None and alone.first.name == "layers.0.q_rope"
    wrong = [s.name for s in local_errors(both.model, reference, tap=both.tap).wrong]
    rotated = [f"layers.{i}.{kind}" for i in range(3) for kind in ("q_rope", "k_rope")]
    assert wrong == sorted([*rotated, one.first], key=step_names(3).index)


def test_the_positions_are_named(subject):
    model, tokens, reference = subject
    planted = plant("positions", model)
    found = first_divergence(trace(planted.model, tokens, tap=planted.tap), reference)
    assert found is not None and found.positions.tolist() == list(range(12, 24))
    assert "layers.0.q_rope is wrong at positions 12 to 23 of 24" in str(found)
    assert "RoPE: the pairing of numbers, its base, or positions that are off" in str(found)


def test_shifting_all_positions_moves_the_steps_and_not_the_logits():
    """Only differences of positions count: RoPE alone sees where a text begins."""
    model, tokens, reference = checked_model(0)
    turn = np.exp(1j * model.frequencies).astype(np.complex64)

    def shifted(name, x):  # interleaved: a pair is one complex number
        if not name.endswith("_rope"):
            return x
        return np.ascontiguousarray((x.view(np.complex64) * turn).view(np.float32))

    report = reconcile(trace(model, tokens, tap=shifted), tokens, reference)
    kinds = {step.name.rpartition(".")[2] for step in report.wrong}
    assert kinds == {"q_rope", "k_rope"}


def test_equal_heads_cannot_show_a_wrong_mapping_of_heads():
    model = random_model(0, n_kv_heads=6)
    tokens = random_text(0)
    planted = plant("kv-head", model)
    found = first_divergence(
        trace(planted.model, tokens, tap=planted.tap), float64_reference(model, tokens)
    )
    assert found is None


def test_other_tokens_are_step_zero(subject):
    model, tokens, reference = subject
    other = [*tokens[:5], 200, *tokens[6:]]
    report = reconcile(trace(model, other), other, reference)
    assert not report.agrees and report.first is None and not report.steps
    sentence = f"tokens: 200 at position 5, the reference has {tokens[5]} there"
    assert sentence in str(report)
    with pytest.raises(RequestError, match=sentence):
        first_divergence(trace(model, other), reference)
    shorter = reconcile(trace(model, tokens[:-1]), tokens[:-1], reference)
    assert "tokens: nothing at position 23" in str(shorter)


def test_a_report_reads_well_with_and_without_a_bug(subject):
    model, tokens, reference = subject
    good = reconcile(trace(model, tokens), tokens, reference, "ours")
    assert good.agrees and str(good).startswith("ours against numpy in float64, 24 tokens\nall 54")
    planted = plant("gelu", model)
    bad = reconcile(trace(planted.model, tokens, tap=planted.tap), tokens, reference)
    text = str(bad)
    assert "15 steps agree" in text and "layers.0.activated is wrong" in text
    assert "usual causes: another activation than silu" in text
    assert "layers.0.activated" in bad.table().splitlines()[16]
    assert bad._repr_html_().startswith("<pre style=")
    assert "1 of 54 steps" not in text
    local = local_errors(planted.model, reference, tap=planted.tap)
    assert "3 of 54 steps are wrong by themselves" in str(local)


def test_numbers_that_are_none_are_an_infinite_error(subject):
    model, tokens, reference = subject
    weights = {**model.weights, "layers.1.wv": model.weights["layers.1.wv"].copy()}
    weights["layers.1.wv"][0, 0] = np.nan
    found = first_divergence(trace(replace(model, weights=weights), tokens), reference)
    assert found is not None and found.name == "layers.1.v" and np.isinf(found.errors).all()
    assert "error inf" in str(found)


def test_an_error_is_relative_to_its_own_position():
    reference = np.array([[1000.0, 0], [1, 0]])
    x = reference + np.array([[1.0, 0], [0.5, 0]])
    np.testing.assert_allclose(relative_errors("wo", x, reference), [1e-3, 0.5])
    heads = np.zeros((3, 2, 5))  # heads come first in scores and weights
    heads[:, 1] = 1
    np.testing.assert_allclose(relative_errors("layers.0.weights", heads * 2, heads), [0, 1])


def test_a_future_that_only_one_of_them_hides_is_an_error():
    reference = np.array([[[0, -np.inf], [1, 2]]])
    assert relative_errors("scores", reference, reference).tolist() == [0, 0]
    assert relative_errors("scores", np.array([[[0, 0.0], [1, 2]]]), reference).tolist() == [
        np.inf, 0,
    ]  # fmt: skip


def test_every_step_has_a_usual_cause():
    names = step_names(1, experts=True)  # those of a model without experts are among them
    assert set(step_names(1)) < set(names)
    assert list(CAUSES) == list(dict.fromkeys(name.rpartition(".")[2] for name in names))


def test_an_unknown_bug_is_refused_with_the_list():
    with pytest.raises(RequestError, match="bug 'epsilon': expected one of eps, rope-pairing"):
        plant("epsilon", random_model(0))


def test_what_is_no_number_agrees_with_nothing_not_even_with_itself():
    """inf / inf is NaN, which no alarm is below: a damaged model agreed with its own reference."""
    model = random_model(1)
    model.weights["layers.1.w_up"][3, 2] = np.nan
    tokens = tuple(random_text(2, 7))
    with np.errstate(invalid="ignore"):
        found = reconcile(trace(model, tokens), tokens, float64_reference(model, tokens))
    assert not found.agrees and found.first.name == "layers.1.up"
    assert "layers.1.up is wrong at positions 0 to 6" in str(found)
