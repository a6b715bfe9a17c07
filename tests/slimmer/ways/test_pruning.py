"""Weights set to zero: by size, and by Wanda where size and input disagree."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.slimmer.ways.matrix_inputs import READERS, input_of, inputs_on
from llama_edu.slimmer.ways.pruning import by_size, by_wanda, pruned
from llama_edu.slimmer.ways.shares import check_dense
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward

#: Where size and input disagree: the second column is large and multiplies next to nothing.
W = np.array([[1, 8, 2, 3], [-1, -9, 4, 0.5]], np.float32)
NORMS = np.array([10, 0.1, 1, 1])


def test_by_size_the_smallest_numbers_of_the_matrix_go():
    np.testing.assert_array_equal(by_size(W, 0.5), [[0, 8, 0, 3], [0, -9, 4, 0]])


def test_wanda_keeps_what_a_large_input_multiplies_and_compares_within_a_row():
    np.testing.assert_array_equal(by_wanda(W, NORMS, 0.5), [[1, 0, 0, 3], [-1, 0, 4, 0]])
    np.testing.assert_array_equal(by_wanda(W, NORMS, 0.25), [[1, 0, 2, 3], [-1, -9, 4, 0]])


def test_nothing_and_everything_can_be_zeroed_and_the_original_stays():
    before = W.copy()
    for prune in (by_size, lambda w, share: by_wanda(w, NORMS, share)):
        np.testing.assert_array_equal(prune(W, 0), W)
        assert not prune(W, 1).any()
    np.testing.assert_array_equal(W, before)


def test_norms_are_those_of_what_each_matrix_multiplies():
    model, texts = random_model(1), [random_text(1, 9), random_text(2, 14)]
    inputs = inputs_on(model, texts)
    seen = {}

    def look(name, x):
        seen.setdefault(name, []).append(x.copy())
        return x

    for text in texts:
        forward(model, text[:-1], KVCache(model.config), tap=look)
    assert len(inputs.norms) == len(READERS) * model.config.n_layers
    for name, norms in inputs.norms.items():
        x = np.concatenate(seen[name]).astype(np.float64)
        for j in range(x.shape[1]):
            assert norms[j] == pytest.approx(np.sqrt(sum(row[j] ** 2 for row in x)), rel=1e-5)
        assert np.array_equal(inputs.sizes[name], np.sort(np.abs(x).astype(np.float32).ravel()))


def test_of_a_long_text_every_second_position_is_kept(monkeypatch):
    model, text = random_model(1), random_text(3, 21)
    whole = inputs_on(model, [text])
    n = sum(size.size for size in whole.sizes.values())
    monkeypatch.setattr("llama_edu.slimmer.ways.matrix_inputs.MOST_NUMBERS", n - 1)
    half = inputs_on(model, [text])
    assert sum(size.size for size in half.sizes.values()) == n // 2
    np.testing.assert_array_equal(half.norms["layers.2.mixed"], whole.norms["layers.2.mixed"])


def test_only_the_layers_matrices_are_pruned_each_by_its_own_input():
    model = random_model(1)
    norms = inputs_on(model, [random_text(1)]).norms
    for given in (None, norms):
        changed = pruned(model, 0.5, given)
        for name, w in changed.weights.items():
            zeros = np.mean(w == 0)
            assert zeros == pytest.approx(0.5, abs=0.03) if ".w" in name else zeros < 0.2, name
    w = model.weights["layers.1.wo"]
    expected = by_wanda(w, norms["layers.1.mixed"], 0.5)
    np.testing.assert_array_equal(pruned(model, 0.5, norms).weights["layers.1.wo"], expected)
    assert input_of("layers.12.w_down") == "layers.12.activated"


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan"), float("inf")])
def test_a_share_that_is_none_is_refused(share):
    for prune in (lambda: by_size(W, share), lambda: pruned(random_model(0), share)):
        with pytest.raises(RequestError, match=r"pruning: a share of .*, expected a number from 0"):
            prune()


def test_a_model_with_experts_is_refused():
    config = ModelConfig(24, 40, 3, 6, 2, 271, n_experts=4, n_experts_per_token=2)
    with pytest.raises(RequestError, match="4 experts per layer, expected one feed-forward"):
        check_dense(config, "pruning")
