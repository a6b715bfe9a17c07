"""Distributions of neurons and thresholds from them, beside every number kept and sorted."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.neurons import sizes_of
from helpers.random_models import random_model, random_text
from helpers.small_models import small_config

from llama_edu.errors import NumericalError, RequestError
from llama_edu.slimmer.activations import check_share, gate_size, observe_activations

TEXTS = [random_text(1), random_text(2, 17)]


@pytest.mark.parametrize("activation", ["silu", "relu"])
def test_thresholds_are_the_quantiles_of_each_layer(activation):
    model = random_model(1, activation=activation)
    found = observe_activations(model, TEXTS)
    sizes, gates = sizes_of(model, TEXTS)
    assert found.n_tokens == sizes.shape[1] == 41
    np.testing.assert_allclose(found.mean_square, (sizes**2).mean(axis=1), rtol=1e-4)
    for name, numbers in (("activated", sizes), ("gate", gates)):
        for share in (0.2, 0.55, 0.9):
            below = np.mean(numbers <= found.thresholds(name, share)[:, None, None], axis=(1, 2))
            expected = np.maximum(share, np.mean(numbers == 0, axis=(1, 2)))
            np.testing.assert_allclose(below, expected, atol=0.004)


def test_nothing_and_everything():
    found = observe_activations(random_model(1), TEXTS)
    assert (found.thresholds("activated", 0) == -1).all()
    assert (found.thresholds("gate", 1) == np.inf).all()


def test_a_text_in_chunks_is_the_same_and_progress_is_told(monkeypatch):
    model, seen = random_model(2), []
    whole = observe_activations(model, TEXTS)
    monkeypatch.setattr("llama_edu.slimmer.activations.PREFILL_CHUNK", 10)
    found = observe_activations(model, TEXTS, progress=seen.append)
    assert seen == [10, 20, 24, 34, 41]
    np.testing.assert_allclose(found.mean_square, whole.mean_square, rtol=1e-4)
    near = np.abs(found.counts["gate"] - whole.counts["gate"]).sum()
    assert found.counts["gate"].sum() == whole.counts["gate"].sum() and near < 40


def test_a_negative_zero_is_a_zero():
    gate = np.array([[-0.0, 0.0, -2.0]], np.float32)
    assert not np.signbit(gate_size(gate, "relu")).any()
    assert not np.signbit(gate_size(gate, "silu")).any()


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan"), float("inf"), "half", None])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(RequestError, match=r"a share of .* expected a number from 0 to 1"):
        check_share(share)


def test_shares_of_any_number_type_are_taken():
    for share in (0, 1, 0.5, np.float32(0.5)):
        check_share(share)


@pytest.mark.parametrize(("texts", "found"), [([], "0 tokens"), ([[5]], "1 token,")])
def test_one_token_is_no_calibration(texts, found):
    with pytest.raises(RequestError, match=f"calibration: {found}.* expected at least two"):
        observe_activations(random_model(0), texts)


def test_experts_and_damaged_weights_are_refused_in_words():
    with pytest.raises(RequestError, match="has 4 experts, expected one feed-forward network"):
        observe_activations(random_model(0, n_experts=4, n_experts_per_token=2), TEXTS)
    model = random_model(0)
    model.weights["layers.1.w_up"][3] = np.nan
    with pytest.raises(NumericalError, match="layer 1 is NaN or infinite"):
        observe_activations(model, TEXTS)


def test_memory_does_not_grow_with_the_text():
    config = small_config()
    short, long = (observe_activations(random_model(0), [t]) for t in (TEXTS[1], TEXTS[0]))
    for found in (short, long):
        assert found.counts["gate"].shape == (config.n_layers, 65536)
        assert found.mean_square.shape == (config.n_layers, config.hidden_dim)
