"""Losses of changed models: per token, over several texts, as paired differences."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

from llama_edu.errors import NumericalError, RequestError
from llama_edu.quality.losses import paired_loss, token_nats
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward


def nats_by_hand(model, text):
    scores = forward(model, text, KVCache(model.config)).astype(np.float64)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return [-np.log(chances[i, token]) for i, token in enumerate(text[1:])]


def test_each_token_is_scored_from_those_before_it_in_its_own_text():
    model = random_model(3)
    texts = [random_text(1, 9), [5], random_text(2, 14)]
    seen = []
    found = token_nats(model, texts, progress=seen.append)
    expected = nats_by_hand(model, texts[0]) + nats_by_hand(model, texts[2])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert seen == [8, 21]


def test_a_long_text_in_chunks_is_the_same(monkeypatch):
    model, text = random_model(2), random_text(4, 30)
    whole = token_nats(model, [text])
    monkeypatch.setattr("llama_edu.quality.losses.PREFILL_CHUNK", 7)
    np.testing.assert_allclose(token_nats(model, [text]), whole, atol=1e-5)


def test_what_changes_the_model_changes_the_loss():
    model, text = random_model(1), random_text(5)

    def half(name, x):
        return x / 2 if name.endswith("activated") else x

    def none(model, layer, x, see):
        return np.zeros_like(x)

    base = token_nats(model, [text])
    assert np.abs(token_nats(model, [text], tap=half) - base).max() > 0.01
    assert np.abs(token_nats(model, [text], ffn=none) - base).max() > 0.01


def test_paired_difference_and_its_standard_error():
    base = np.array([1.0, 2.0, 4.0, 8.0])
    loss = paired_loss(base, base + np.array([0.0, 0.2, 0.2, 0.0]))
    assert loss.nats == pytest.approx(0.1) and loss.n_tokens == 4
    assert loss.standard_error == pytest.approx(np.sqrt(0.04 / 3) / 2)
    assert str(loss) == "+0.1000 ± 0.0577"
    assert paired_loss(base, base).standard_error == 0


def test_pairs_need_the_same_tokens():
    for base, changed in ((3, 4), (1, 1)):
        with pytest.raises(RequestError, match="expected two rows of the same tokens"):
            paired_loss(np.zeros(base), np.zeros(changed))


def test_nothing_to_score_and_damaged_weights_are_said():
    model = random_model(0)
    with pytest.raises(RequestError, match="no text has two tokens"):
        token_nats(model, [[1], []])
    model.weights["final_norm"][3] = np.nan
    with pytest.raises(NumericalError, match="positions 0 to 4 of a text"):
        token_nats(model, [random_text(1, 6)])
