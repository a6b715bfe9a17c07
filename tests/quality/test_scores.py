"""One window by several models, beside sums by hand; errors over windows; divergences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

from llama_edu.errors import NumericalError, RequestError
from llama_edu.quality.estimate import estimate, token_error
from llama_edu.quality.losses import divergence, nats_of
from llama_edu.quality.scores import window_scores
from llama_edu.quality.windows import Window
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward


def probabilities(model, ids):
    scores = forward(model, ids, KVCache(model.config)).astype(np.float64)
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("first", [1, 5, 9])
@pytest.mark.parametrize("chunk", [128, 4])
def test_a_window_by_two_models(monkeypatch, first, chunk):
    monkeypatch.setattr("llama_edu.quality.losses.PREFILL_CHUNK", chunk)
    models, ids = [random_model(1), random_model(2)], random_text(3, 19)
    found = window_scores(models, Window(tuple(ids), first, 0))
    p, q = (probabilities(model, ids)[first - 1 : -1] for model in models)
    for chances, nats in zip((p, q), found.nats, strict=True):
        expected = -np.log(chances[np.arange(len(chances)), ids[first:]])
        np.testing.assert_allclose(nats, expected, atol=1e-5)
    np.testing.assert_allclose(found.kl[0], np.sum(p * np.log(p / q), axis=1), atol=1e-5)
    assert (found.same[0] == (p.argmax(axis=1) == q.argmax(axis=1))).all()


def test_positions_in_blocks_are_the_same(rng, monkeypatch):
    a, b = rng.normal(0, 3, (2, 11, 37)).astype(np.float32)
    ids = rng.integers(0, 37, 11)
    whole = nats_of(a, ids), *divergence(a, b)
    monkeypatch.setattr("llama_edu.quality.losses._POSITIONS", 4)
    for one, other in zip(whole, (nats_of(a, ids), *divergence(a, b)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_divergence_of_the_same_is_none_and_an_impossible_token_counts_nothing():
    a = np.array([[0.0, 1, 2], [-np.inf, 0, 1]], np.float32)
    nats, same = divergence(a, a)
    assert (nats == 0).all() and same.all()
    nats, same = divergence(a[1:], np.array([[5.0, 0, 1]], np.float32))
    assert np.isfinite(nats).all() and nats[0] > 0 and not same[0]
    with np.errstate(invalid="ignore"):
        nats, _ = divergence(a[:1], np.array([[-np.inf, 0, 1]], np.float32))
    assert nats[0] == np.inf


def test_what_is_no_number_is_never_the_same_token():
    """argmax gives the place of a NaN, which two damaged files may have in common."""
    damaged = np.array([[0.0, np.nan, 2]], np.float32)
    nats, same = divergence(damaged, damaged)
    assert math.isnan(nats[0]) and not same[0]
    assert not divergence(np.array([[0.0, 1, 0]], np.float32), damaged)[1][0]


def test_a_damaged_model_is_named():
    good, bad = random_model(1), random_model(2)
    bad.weights["layers.1.wq"][2] = np.inf
    window = Window(tuple(random_text(3, 8)), 1, 0)
    with pytest.raises(NumericalError, match=r"b.gguf: loss: .*position 0, layer 2"):
        window_scores([good, bad], window, ["a.gguf", "b.gguf"])


def test_a_mean_over_windows_and_its_error():
    windows = [np.array([1.0, 2, 3]), np.array([5.0]), np.array([2.0, 4])]
    found = estimate(windows)
    assert found.mean == pytest.approx(17 / 6)
    mean = 17 / 6
    spread = (6 - 3 * mean) ** 2 + (5 - mean) ** 2 + (6 - 2 * mean) ** 2
    assert found.error == pytest.approx(math.sqrt(spread * 3 / 2) / 6)
    assert estimate([windows[0]]).error is None
    assert estimate([np.array([True, False]), np.array([True])]).mean == pytest.approx(2 / 3)
    alike = [np.array([x]) for x in (1.0, 2, 4, 9)]  # then it is the error of independent numbers
    assert estimate(alike).error == pytest.approx(np.std([1, 2, 4, 9], ddof=1) / 2)
    assert token_error(alike) == pytest.approx(estimate(alike).error)
    assert token_error([np.array([3.0])]) is None
    with pytest.raises(RequestError, match="no window has a number"):
        estimate([])


def test_the_error_covers_the_truth_as_often_as_it_should(rng):
    """Windows with a level of their own: tokens are not independent, windows are."""
    n_inside, n_tokens_inside = 0, 0
    for _ in range(300):
        windows = [rng.normal(0, 1) + rng.normal(0, 1, rng.integers(20, 40)) for _ in range(24)]
        found = estimate(windows)
        n_inside += abs(found.mean) < 2 * found.error
        n_tokens_inside += abs(found.mean) < 2 * token_error(windows)
    assert 0.88 < n_inside / 300 < 0.99
    assert n_tokens_inside / 300 < 0.6, "tokens taken as independent promise too much"
