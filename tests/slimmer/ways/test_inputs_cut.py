"""Small inputs cut: beside plain loops over one layer's matrices."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

from llama_edu.errors import RequestError
from llama_edu.quality.losses import token_nats
from llama_edu.slimmer.ways.inputs_cut import InputsCut, thresholds
from llama_edu.slimmer.ways.matrix_inputs import inputs_on
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward


def test_every_product_loses_its_small_inputs_and_no_others():
    model, text = random_model(1), random_text(1, 12)
    limits = thresholds(inputs_on(model, [random_text(2)]).sizes, 0.4)
    seen = {}
    cut = InputsCut(limits)

    def tap(name, x):
        before = x.copy()
        seen[name] = before, cut(name, x).copy()
        return x

    forward(model, text, KVCache(model.config), tap=tap)
    by_loops = {}
    for name, (before, after) in seen.items():
        limit = limits.get(name, -1)
        expected = np.zeros_like(before)
        for index in np.ndindex(before.shape):
            if abs(before[index]) > limit:
                expected[index] = before[index]
            else:
                by_loops[name] = by_loops.get(name, 0) + 1
        np.testing.assert_array_equal(after, expected)
    assert by_loops == dict(cut.n_cut) and len(by_loops) == 4 * model.config.n_layers
    # what follows is computed with what is left
    w = model.weights["layers.1.w_down"]
    _, left = seen["layers.1.activated"]
    down = [[float(sum(x[i] * row[i] for i in range(40))) for row in w] for x in left]
    np.testing.assert_allclose(seen["layers.1.down"][0], down, atol=1e-3)


def test_the_threshold_leaves_out_that_share_of_the_text_it_is_from():
    model, text = random_model(1), random_text(1)
    sizes = inputs_on(model, [text]).sizes
    first = {name: s for name, s in sizes.items() if name == "layers.0.attention_norm"}
    for share in (0, 0.25, 0.5, 1):
        limit = thresholds(first, share)["layers.0.attention_norm"]
        assert np.mean(first["layers.0.attention_norm"] <= limit) == pytest.approx(share, abs=0.01)
    nothing = InputsCut(thresholds(sizes, 0))
    np.testing.assert_array_equal(token_nats(model, [text], tap=nothing), token_nats(model, [text]))
    assert nothing.bytes_left_out(model) == 0


def test_bytes_left_out_are_columns_of_all_matrices_that_share_an_input():
    model = random_model(1)
    everything = InputsCut(dict.fromkeys(inputs_on(model, [random_text(1)]).sizes, np.inf))
    token_nats(model, [random_text(2)], tap=everything)
    matrices = [w for n, w in model.weights.items() if ".w" in n]
    assert len(matrices) == 7 * model.config.n_layers
    assert everything.bytes_left_out(model) == sum(w.nbytes for w in matrices)


def test_a_share_that_is_none_is_refused():
    with pytest.raises(RequestError, match=r"inputs cut: a share of 1.5, expected a number from 0"):
        thresholds({}, 1.5)
