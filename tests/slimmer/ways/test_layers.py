"""Layers left out: a layer that does nothing costs nothing, and the greedy choice finds it."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

from llama_edu.errors import RequestError
from llama_edu.quality.losses import paired_loss, token_nats
from llama_edu.slimmer.ways.layers import greedy_choices, renumbered, without_layers


def idle(model, layer):
    """The model with a layer that adds nothing to x."""
    for name in ("wo", "w_down"):
        model.weights[f"layers.{layer}.{name}"][:] = 0
    return model


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_layer_that_adds_nothing_costs_nothing(layer):
    model, text = idle(random_model(1), layer), random_text(1)
    base = token_nats(model, [text])
    loss = paired_loss(base, token_nats(without_layers(model, [layer]), [text]))
    assert loss.nats == 0 and loss.standard_error == 0
    other = (layer + 1) % 3
    assert abs(paired_loss(base, token_nats(without_layers(model, [other]), [text])).nats) > 1e-3


def test_the_layers_that_stay_keep_their_order_and_their_arrays():
    model = random_model(1)
    smaller = without_layers(model, [1])
    assert smaller.config.n_layers == 2
    assert set(smaller.weights) == set(smaller.config.tensor_shapes())
    assert smaller.weights["layers.0.wq"] is model.weights["layers.0.wq"]
    assert smaller.weights["layers.1.wq"] is model.weights["layers.2.wq"]
    many = {f"layers.{i}.x": i for i in range(12)}
    assert renumbered(many, 12, {0, 10}) == {
        f"layers.{new}.x": old for new, old in enumerate([1, 2, 3, 4, 5, 6, 7, 8, 9, 11])
    }


def test_the_greedy_choice_begins_with_leave_one_out_and_goes_on_from_there():
    model, texts = idle(random_model(1), 1), [random_text(1), random_text(2)]
    counted = []
    first, second = greedy_choices(model, texts, 3, counted.append)
    assert first.nats[1] == token_nats(model, texts).mean() and sorted(first.nats) == [0, 1, 2]
    best = min(first.nats, key=first.nats.get)
    assert first.left_out == second.left_out[:1] == (best,)
    assert sorted(second.nats) == sorted({0, 1, 2} - {best})
    both = token_nats(without_layers(model, second.left_out), texts).mean()
    assert both == min(second.nats.values())
    assert counted == [46] * 5  # one layer stays


def test_a_layer_that_there_is_not_and_all_layers_are_refused():
    model = random_model(0)
    for layer in (3, -1):
        with pytest.raises(RequestError, match=f"layer {layer}, expected 0 to 2"):
            without_layers(model, [layer])
    with pytest.raises(RequestError, match="all 3, expected at least one that stays"):
        without_layers(model, [0, 1, 2])
    assert np.isfinite(token_nats(without_layers(model, [0, 0]), [random_text(1)])).all()
