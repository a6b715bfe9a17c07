"""Which experts are chosen, counted beside loops."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.mixtures import choices_of, write_mixture

from llama_edu.loading import load
from llama_edu.quality.losses import token_nats
from llama_edu.slimmer.expert_use import (
    RouterWatch,
    shared_by_chance,
    shared_fractions,
    use_fractions,
)
from llama_edu.transformer.experts import choices


@pytest.fixture
def two_texts():
    first = choices_of([[(0, 1), (1, 2), (1, 2)], [(0, 3), (1, 2), (0, 3)]], 5)
    return [first, choices_of([[(3, 4)], [(3, 4)]], 5)]


def test_use_is_the_share_of_tokens_that_an_expert_computes(two_texts):
    use = use_fractions(two_texts)
    np.testing.assert_allclose(use, [[1 / 4, 3 / 4, 2 / 4, 1 / 4, 1 / 4],
                                     [2 / 4, 1 / 4, 1 / 4, 3 / 4, 1 / 4]])  # fmt: skip
    np.testing.assert_allclose(use.sum(axis=1), 2)


def test_neighbors_are_those_of_one_text(two_texts):
    np.testing.assert_allclose(shared_fractions(two_texts), [0.75, 0])
    assert np.isnan(shared_fractions(two_texts[1:])).all()


def test_by_chance_neighbors_share_what_two_draws_share(rng):
    assert shared_by_chance(np.full((3, 8), 2 / 8)) == pytest.approx(2 / 8)
    assert shared_by_chance(np.array([[1.0, 1.0, 0, 0]])) == pytest.approx(1)
    # one of two experts, the first three times of four: 3/4 * 3/4 + 1/4 * 1/4
    assert shared_by_chance(np.array([[0.75, 0.25]])) == pytest.approx(10 / 16)


def test_the_watch_sees_texts_in_chunks_as_a_trace_sees_them_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("llama_edu.quality.losses.PREFILL_CHUNK", 4)
    with load(write_mixture(tmp_path / "moe.gguf")) as llama:
        texts = [[1, 5, 9, 270, 33, 8, 77], [1, 44, 299]]
        watch = RouterWatch(llama.config)
        token_nats(llama.model, texts, tap=watch, end_of_text=watch.end_text)
        for text, seen in zip(texts, watch.texts, strict=True):
            expected = choices(llama.trace(text[:-1], "layers.*.router"), llama.config)
            assert np.array_equal(seen.experts, expected.experts)
            np.testing.assert_allclose(seen.shares, expected.shares, atol=1e-5)
