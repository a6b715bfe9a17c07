"""The logit lens ends with the model's own answer; sizes and moves are those of x."""

from __future__ import annotations

import numpy as np
from helpers.random_models import random_model, random_text

from llama_edu.reconcile.inside import LogitLens, logit_lens, moves, sizes
from llama_edu.reconcile.trace import trace

TOKENS = random_text(2, 11)


def test_the_last_row_of_the_lens_is_the_models_answer_and_the_first_the_embeddings():
    model = random_model(2)
    steps = trace(model, TOKENS)
    lens = logit_lens(model, steps)
    assert lens.ids.shape == lens.probabilities.shape == (4, 11)
    np.testing.assert_array_equal(lens.ids[-1], steps["logits"].argmax(axis=1))
    scores = np.exp(steps["logits"] - steps["logits"].max(axis=1, keepdims=True))
    np.testing.assert_allclose(lens.probabilities[-1], 1 / scores.sum(axis=1), rtol=1e-5)
    alone = model.norm(model.embed(TOKENS), "final_norm") @ model.weights["output"].T
    np.testing.assert_array_equal(lens.ids[0], alone.argmax(axis=1))


def test_an_answer_is_settled_where_it_no_longer_changes():
    ids = np.array([[7, 1, 5], [7, 2, 5], [7, 3, 6], [7, 3, 5]])
    assert LogitLens(ids, ids).settled.tolist() == [0, 2, 3]


def test_sizes_and_moves_by_hand():
    steps = {
        "embedding": np.array([[3.0, 4], [0, 1]]),
        "layers.0.out": np.array([[6.0, 8], [0, 1]]),
        "layers.1.out": np.array([[6.0, 8], [0, -1]]),
    }
    root = np.sqrt(2)
    np.testing.assert_allclose(
        sizes(2, steps), [[5 / root, 1 / root]] + [[10 / root, 1 / root]] * 2
    )
    np.testing.assert_allclose(moves(2, steps), [[1, 0], [0, 2]])
