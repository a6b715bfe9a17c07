"""Neurons left out in three ways, beside a block that computes one number at a time."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.neurons import masked_by_hand
from helpers.random_models import random_model, random_text

from llama_edu.errors import NumericalError, RequestError, ShapeError
from llama_edu.quality.losses import token_nats
from llama_edu.slimmer.activations import observe_activations
from llama_edu.slimmer.masks import WAYS, Choice, MaskTap, choose, neuron_masks
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward

CALIBRATION = [random_text(1), random_text(2, 17)]
TEXT = random_text(3, 29)


def by_hand(choice):
    """kept(layer, neuron, size, gate size) of a choice."""
    if choice.way == "fixed":
        return lambda layer, neuron, size, gate: bool(choice.fixed[layer, neuron])
    return lambda layer, neuron, size, gate: (
        (size if choice.way == "oracle" else gate) > choice.thresholds[layer]
    )


def nats_with(model, choice, text=TEXT):
    tap = MaskTap(choice, model.config)
    return token_nats(model, [text], tap=tap), tap.left_out_fraction


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_masks_and_scores_are_those_of_the_slow_twin(way, activation, monkeypatch):
    monkeypatch.setattr("llama_edu.slimmer.activations.PREFILL_CHUNK", 11)
    model = random_model(1, activation=activation)
    choice = choose(observe_activations(model, CALIBRATION), way, 0.6)
    seen = [[] for _ in range(model.config.n_layers)]
    ffn = masked_by_hand(by_hand(choice), seen)
    expected = forward(model, TEXT, KVCache(model.config), ffn=ffn)
    masks = neuron_masks(model, TEXT, choice)
    assert masks.dtype == bool and masks.shape == (3, 29, 40)
    assert np.mean(masks != np.array(seen)) < 0.001  # a number beside a threshold may round over
    tap = MaskTap(choice, model.config)
    found = forward(model, TEXT, KVCache(model.config), tap=tap)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
    assert tap.n_neurons == masks.size
    assert tap.left_out_fraction == pytest.approx(1 - masks.mean(), abs=0.001)
    assert 0.5 < 1 - masks.mean() < 0.75


@pytest.mark.parametrize("way", WAYS)
def test_a_share_of_0_changes_nothing_and_1_leaves_no_neuron(way):
    model = random_model(2)
    activations = observe_activations(model, CALIBRATION)
    nats, left_out = nats_with(model, choose(activations, way, 0))
    assert left_out == 0 and (nats == token_nats(model, [TEXT])).all()
    nats, left_out = nats_with(model, choose(activations, way, 1))
    none = token_nats(model, [TEXT], ffn=lambda model, layer, x, see: np.zeros_like(x))
    assert left_out == 1 and (nats == none).all()


def test_neurons_that_are_zero_cost_nothing_to_an_oracle_and_something_to_a_gate():
    model = random_model(3)
    for layer in range(3):
        model.weights[f"layers.{layer}.w_up"][np.arange(40) % 5 < 3] = 0
    activations, base = observe_activations(model, CALIBRATION), token_nats(model, [TEXT])
    for way, equal in (("oracle", True), ("fixed", True), ("gate", False)):
        nats, left_out = nats_with(model, choose(activations, way, 0.6))
        assert (nats == base).all() == equal
        assert equal is False or left_out == pytest.approx(0.6, abs=0.002)


def test_exact_zeros_are_all_left_out_and_cost_nothing():
    model = random_model(1, activation="relu")
    activations, base = observe_activations(model, CALIBRATION), token_nats(model, [TEXT])
    for way in ("oracle", "gate"):
        nats, left_out = nats_with(model, choose(activations, way, 0.2))
        assert (nats == base).all() and 0.4 < left_out < 0.6
    nats, left_out = nats_with(model, choose(activations, "fixed", 0.2))
    assert (nats != base).any() and left_out == 0.2


def test_the_fixed_set_is_that_of_the_largest_mean_square_and_lasts_for_every_token():
    model = random_model(2)
    for layer in range(3):
        model.weights[f"layers.{layer}.w_up"][[4, 31]] *= 50
    activations = observe_activations(model, CALIBRATION)
    assert (choose(activations, "fixed", 0.29).fixed.sum(axis=1) == 40 - 12).all()  # of 11.6
    choice = choose(activations, "fixed", 0.95)
    masks = neuron_masks(model, TEXT, choice)
    assert (np.flatnonzero(masks[1, 0]) == [4, 31]).all()
    assert (masks == masks[:, :1]).all()


def test_later_layers_see_what_earlier_ones_were_left_with():
    model = random_model(4)
    choice = choose(observe_activations(model, CALIBRATION), "oracle", 0.7)
    unmasked = [[] for _ in range(3)]
    sees = by_hand(choice)
    ffn = masked_by_hand(
        lambda *a: unmasked[a[0]].append(sees(*a)) or True, unmasked_rows := [[], [], []]
    )
    forward(model, TEXT, KVCache(model.config), ffn=ffn)
    of_whole_model = np.array(unmasked).reshape(3, 29, 40)
    masks = neuron_masks(model, TEXT, choice)
    assert len(unmasked_rows[0]) == 29
    differ = (masks != of_whole_model).mean(axis=(1, 2))
    assert differ[0] < 0.001 < differ[2]


def test_a_mask_hides_no_damage():
    model = random_model(0)
    choice = choose(observe_activations(model, CALIBRATION), "oracle", 0.9)
    model.weights["layers.1.w_up"][3] = np.nan
    with pytest.raises(NumericalError):
        nats_with(model, choice)


def test_unknown_ways_and_foreign_choices_are_refused():
    model = random_model(0)
    activations = observe_activations(model, CALIBRATION)
    with pytest.raises(RequestError, match="way 'magic', expected oracle, gate, fixed"):
        choose(activations, "magic", 0.5)
    with pytest.raises(RequestError, match="a share of nan"):
        choose(activations, "fixed", float("nan"))
    with pytest.raises(RequestError, match="a share of 2"):
        choose(activations, "oracle", 2)
    for wrong, shape in (
        (Choice("oracle", 0.5, thresholds=np.zeros(4, np.float32)), r"\(4,\), expected \(3,\)"),
        (Choice("fixed", 0.5, fixed=np.ones((3, 41), bool)), r"\(3, 41\), expected \(3, 40\)"),
        (Choice("gate", 0.5), r"None, expected \(3,\)"),
    ):
        with pytest.raises(ShapeError, match=f"a choice of shape {shape}"):
            neuron_masks(model, TEXT, wrong)


def test_a_text_without_tokens_and_experts_are_refused():
    model = random_model(0)
    choice = choose(observe_activations(model, CALIBRATION), "gate", 0.5)
    with pytest.raises(RequestError, match="the text has no tokens"):
        neuron_masks(model, [], choice)
    with pytest.raises(RequestError, match="has 4 experts"):
        MaskTap(choice, random_model(0, n_experts=4, n_experts_per_token=2).config)
