"""From logits to a token: each rule against its slow twin, and what must hold for every draw."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from llama_edu.errors import RequestError
from llama_edu.transformer.sampling import (
    GREEDY,
    SamplingSettings,
    candidates,
    chances,
    penalize,
    sample,
)

logits_arrays = st_numpy.arrays(
    np.float32, st.integers(1, 30), elements=st.floats(-30, 30, width=16)
)


class NoRandomness:
    """A generator that must not be asked."""

    def random(self):
        raise AssertionError("a random number was drawn")


class Fixed:
    """A generator that always draws the same number."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


@given(
    logits_arrays,
    st.floats(0.05, 5),
    st.integers(0, 35),
    st.floats(0.01, 1),
    st.floats(0, 1),
)
def test_candidates_equal_the_slow_twin(logits, temperature, top_k, top_p, min_p):
    ids, probabilities = candidates(logits, SamplingSettings(temperature, top_k, top_p, min_p))
    expected = reference.candidates(logits.tolist(), temperature, top_k, top_p, min_p)
    n_kept = len(ids)
    boundary = abs(n_kept - len(expected)) == 1  # a rounding may decide the last one either way
    assert list(ids) == list(expected)[:n_kept] or boundary
    if n_kept == len(expected):
        np.testing.assert_allclose(probabilities, list(expected.values()), rtol=1e-5, atol=1e-12)


@given(logits_arrays, st.floats(0.05, 5), st.integers(0, 35), st.floats(0.01, 1), st.floats(0, 1))
def test_candidates_are_sorted_distinct_and_sum_to_one(logits, temperature, top_k, top_p, min_p):
    ids, probabilities = candidates(logits, SamplingSettings(temperature, top_k, top_p, min_p))
    assert len(set(ids.tolist())) == len(ids) >= 1
    assert math.isclose(probabilities.sum(), 1)
    assert (np.diff(probabilities) <= 0).all()
    assert ids[0] == np.argmax(logits)


@given(logits_arrays, st.floats(0.1, 4), st.lists(st.integers(0, 29), max_size=20))
def test_the_repeat_penalty_equals_the_slow_twin(logits, penalty, recent):
    recent = [token for token in recent if token < len(logits)]
    before = logits.copy()
    result = penalize(logits, SamplingSettings(repeat_penalty=penalty), recent)
    expected = reference.repeat_penalty(logits.tolist(), penalty, recent)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    np.testing.assert_array_equal(logits, before)


def test_a_repeated_token_is_penalized_once():
    logits = np.array([4.0, -4.0, 1.0], np.float32)
    result = penalize(logits, SamplingSettings(repeat_penalty=2.0), [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(result, [2.0, -8.0, 1.0])


def test_only_the_newest_tokens_count_as_recent():
    logits = np.array([4.0, 4.0, 4.0], np.float32)
    settings = SamplingSettings(repeat_penalty=2.0, repeat_last_n=2)
    np.testing.assert_array_equal(penalize(logits, settings, [0, 1, 2]), [4.0, 2.0, 2.0])
    assert penalize(logits, SamplingSettings(repeat_penalty=2.0, repeat_last_n=0), [0]) is logits


def test_greedy_takes_the_first_of_the_largest_and_draws_nothing():
    assert sample(np.array([1, 3, 3, 2], np.float32), GREEDY, NoRandomness()) == 1


def test_greedy_obeys_the_repeat_penalty():
    settings = SamplingSettings(temperature=0, repeat_penalty=2.0)
    assert sample(np.array([1, 3, 2], np.float32), settings, NoRandomness(), [1]) == 2


def test_top_k_of_one_is_greedy_at_any_temperature():
    settings = SamplingSettings(temperature=5, top_k=1)
    assert sample(np.array([1, 3, 3, 2], np.float32), settings, NoRandomness()) == 1


def test_equal_scores_at_the_edge_of_top_k_go_to_the_lower_ids():
    ids, _ = candidates(np.array([1, 2, 2, 2, 0], np.float32), SamplingSettings(1, top_k=2))
    assert ids.tolist() == [1, 2]


def test_top_p_keeps_the_token_that_crosses_the_line():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    for top_p, n_kept in ((0.4, 1), (0.6, 2), (0.85, 3), (0.97, 4)):
        assert len(candidates(logits, SamplingSettings(1, top_p=top_p))[0]) == n_kept


def test_min_p_is_relative_to_the_likeliest():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    assert len(candidates(logits, SamplingSettings(1, min_p=0.25))[0]) == 3


def test_draws_follow_the_probabilities(rng):
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    settings = SamplingSettings(temperature=1)
    n = 20_000
    counts = np.bincount([sample(logits, settings, rng) for _ in range(n)], minlength=4)
    # five standard deviations of the widest binomial
    np.testing.assert_allclose(counts / n, [0.5, 0.3, 0.15, 0.05], atol=5 * math.sqrt(0.25 / n))


@pytest.mark.parametrize(("value", "token"), [(0.0, 0), (0.499, 0), (0.501, 1), (1 - 2**-53, 3)])
def test_a_draw_falls_where_the_probabilities_say(value, token):
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    assert sample(logits, SamplingSettings(temperature=1), Fixed(value)) == token


def test_a_tiny_temperature_is_greedy_and_warns_of_nothing():
    logits = np.array([1, 3, 2.999], np.float32)
    assert sample(logits, SamplingSettings(temperature=1e-310), Fixed(0.999)) == 1


def test_the_same_generator_state_draws_the_same_tokens(rng):
    logits = rng.standard_normal(50).astype(np.float32)
    settings = SamplingSettings(temperature=1.5)
    first, second = (
        [sample(logits, settings, generator) for _ in range(20)]
        for generator in (np.random.default_rng(7), np.random.default_rng(7))
    )
    assert first == second and len(set(first)) > 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("temperature", math.nan, "temperature is nan, expected 0 or more"),
        ("temperature", -0.1, "temperature is -0.1, expected 0 or more"),
        ("temperature", math.inf, "temperature is inf, expected 0 or more"),
        ("top_k", -1, r"top_k is -1, expected 0 \(off\) or more"),
        ("top_p", 0.0, r"top_p is 0.0, expected more than 0, at most 1"),
        ("top_p", 1.01, r"top_p is 1.01, expected more than 0, at most 1"),
        ("top_p", math.nan, r"top_p is nan, expected more than 0, at most 1"),
        ("min_p", -0.5, r"min_p is -0.5, expected 0 \(off\) to 1"),
        ("min_p", math.nan, r"min_p is nan, expected 0 \(off\) to 1"),
        ("repeat_penalty", 0.0, "repeat_penalty is 0.0, expected more than 0; 1 is off"),
        ("repeat_penalty", math.nan, "repeat_penalty is nan, expected more than 0"),
        ("repeat_last_n", -1, "repeat_last_n is -1, expected 0 or more"),
    ],
)
def test_an_impossible_setting_is_named(name, value, expected):
    with pytest.raises(RequestError, match=expected):
        SamplingSettings(**{name: value})


def test_a_top_k_beyond_any_float_is_only_large():
    assert len(candidates(np.zeros(3, np.float32), SamplingSettings(top_k=10**400))[0]) == 3


@given(logits_arrays, st.sampled_from([0, 0.7, 2.0]), st.integers(0, 9), st.sampled_from([1, 0.6]),
       st.sampled_from([0, 0.2]), st.sampled_from([1, 1.5]))  # fmt: skip
def test_chances_are_those_of_the_candidates(logits, temperature, top_k, top_p, min_p, penalty):
    settings = SamplingSettings(temperature, top_k, top_p, min_p, penalty)
    ids, probabilities = candidates(logits, settings, [0])
    expected = np.zeros(len(logits))
    expected[ids] = probabilities
    np.testing.assert_allclose(chances(logits, settings, [0]), expected, atol=1e-12)
