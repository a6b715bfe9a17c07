"""Top tenths, unions and the order, beside sorting and sets."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.neurons import sizes_of
from helpers.random_models import random_model, random_text

from llama_edu.errors import NumericalError, RequestError
from llama_edu.slimmer.hot_cold import hot_and_cold, hot_first, top_tenth
from llama_edu.slimmer.unions import Unions

TEXTS = [random_text(1), random_text(2, 17)]


@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_counts_energy_and_zeros_are_those_of_sorted_numbers(activation, monkeypatch):
    monkeypatch.setattr("llama_edu.slimmer.activations.PREFILL_CHUNK", 7)
    model = random_model(1, activation=activation)
    found = hot_and_cold(model, TEXTS)
    sizes, _ = sizes_of(model, TEXTS)
    counts, energy = np.zeros((3, 40), int), np.zeros(3)
    for layer, t in np.ndindex(sizes.shape[:2]):
        of_token = sizes[layer, t]
        largest = sorted(range(40), key=lambda n, of_token=of_token: -of_token[n])[:4]
        counts[layer, largest] += 1
        energy[layer] += sum(of_token[n] ** 2 for n in largest) / (of_token**2).sum() / 41
    assert np.abs(found.counts - counts).sum() <= 2 and found.n_tokens == 41
    np.testing.assert_allclose(found.energy_fractions, energy, rtol=1e-4)
    assert found.zero_fraction == pytest.approx(np.mean(sizes == 0), abs=1e-3)
    assert (found.zero_fraction > 0.4) == (activation == "relu")


def test_a_hot_neuron_comes_first_and_a_dead_one_last():
    model = random_model(2)
    for layer in range(3):
        model.weights[f"layers.{layer}.w_gate"][13] = 0
        model.weights[f"layers.{layer}.w_up"][26] *= 1e4
    found = hot_and_cold(model, TEXTS)
    assert found.nobodys_fraction >= 1 / 40
    assert found.nearly_everybodys_fraction >= 1 / 40
    for order in hot_first(model, TEXTS):
        assert order.dtype == np.int64 and sorted(order) == list(range(40))
        assert order[0] == 26 and order[-1] == 13


def test_the_order_goes_by_count_then_size_then_number():
    found = hot_and_cold(random_model(1), TEXTS)
    for layer, order in enumerate(found.hot_first()):
        keys = [(-found.counts[layer, n], -found.mean_square[layer, n], n) for n in order]
        assert keys == sorted(keys)


def test_fractions_of_nobody_and_of_nearly_everybody():
    found = hot_and_cold(random_model(1), TEXTS)
    found.counts[:] = [0] * 10 + [36] * 20 + [37] * 5 + [41] * 5  # 36 of 41 are less than 90%
    assert found.nobodys_fraction == 0.25 and found.nearly_everybodys_fraction == 0.25


def test_unions_of_runs_are_those_of_sets(rng):
    texts = [rng.random((2, n_tokens, 15)) < 0.2 for n_tokens in (13, 6)]
    unions = Unions(2)
    for masks in texts:
        for start in range(0, 13, 5):
            for layer in (1, 0):
                chunk = masks[layer, start : start + 5]
                unions.see(layer, chunk)
        unions.end_text()
    found = unions.fractions()
    assert list(found) == [1, 2, 4, 8]
    for n, fraction in found.items():
        shares = [
            len(
                {
                    neuron
                    for row in masks[layer, first : first + n]
                    for neuron in np.flatnonzero(row)
                }
            )
            / 15
            for masks in texts
            for layer in range(2)
            for first in range(0, masks.shape[1] - n + 1, n)
        ]
        assert fraction == pytest.approx(np.mean(shares))


def test_unions_keep_no_view_of_what_they_saw(rng):
    unions, mask = Unions(1), np.ones((2, 3), bool)
    unions.see(0, mask)
    mask[:] = False
    unions.end_text()
    assert unions.fractions() == {1: 1.0, 2: 1.0}


def test_the_top_tenth_has_at_least_one_neuron():
    assert top_tenth(np.array([[0.1, -5, 2]], np.float32)).tolist() == [[False, True, False]]
    assert top_tenth(np.arange(40, dtype=np.float32)[None]).sum() == 4


def test_bad_input_is_refused_in_words():
    with pytest.raises(RequestError, match=r"neurons: 1 token, expected at least two"):
        hot_first(random_model(0), [[4]])
    with pytest.raises(RequestError, match="has 4 experts"):
        hot_and_cold(random_model(0, n_experts=4, n_experts_per_token=2), TEXTS)
    model = random_model(0)
    model.weights["layers.2.w_gate"][3] = np.inf
    with pytest.raises(NumericalError, match="layer 2"):
        hot_and_cold(model, TEXTS)
