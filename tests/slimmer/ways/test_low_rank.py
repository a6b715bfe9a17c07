"""Two thin matrices: exact where the rank is that low, the best otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

from llama_edu.errors import RequestError
from llama_edu.quality.losses import token_nats
from llama_edu.quants.quantize import quantize
from llama_edu.slimmer.ways.low_rank import factors, low_rank, low_rank_feed_forward, rank_for


@pytest.mark.parametrize("shape", [(40, 24), (24, 40)])
def test_a_matrix_of_rank_one_is_exact(shape, rng):
    w = np.outer(rng.standard_normal(shape[0]), rng.standard_normal(shape[1])).astype(np.float32)
    left, right = factors(w, 1)
    assert left.shape == (shape[0], 1) and right.shape == (1, shape[1])
    assert left.dtype == right.dtype == np.float32
    np.testing.assert_allclose(left @ right, w, atol=1e-5)
    assert np.linalg.norm(left) == pytest.approx(1)  # its columns have one size: see factors()


@pytest.mark.parametrize("shape", [(40, 24), (24, 40)])
def test_no_matrix_of_that_rank_is_closer(shape, rng):
    w = rng.standard_normal(shape).astype(np.float32)
    left, right = factors(w, 7)
    values = np.linalg.svd(w, compute_uv=False)
    error = np.linalg.norm(left @ right - w)
    assert error == pytest.approx(np.sqrt(np.sum(values[7:] ** 2)), rel=1e-4)


def test_the_rank_is_the_largest_that_has_the_share_of_the_numbers():
    assert rank_for(0.75, (768, 256)) == 144
    assert 144 * (768 + 256) <= 0.75 * 768 * 256 < 145 * (768 + 256)
    assert rank_for(0.75, (768, 256), 32) == 128
    with pytest.raises(RequestError, match=r"0.1 of the numbers of a 40 x 24 matrix, .* rank 32"):
        rank_for(0.1, (40, 24), 32)
    for share in (-1, 2):
        with pytest.raises(RequestError, match="low rank: a share of"):
            rank_for(share, (40, 24))


def test_the_network_computes_with_the_factors():
    model, text = random_model(1), random_text(1)
    smaller, rank = low_rank(model, 0.8)
    assert rank == 12 and not any(name.endswith("w_up") for name in smaller.weights)
    dense = dict(model.weights)
    for name in model.weights:
        if f"{name}.left" in smaller.weights:
            dense[name] = smaller.weights[f"{name}.left"] @ smaller.weights[f"{name}.right"]
    expected = token_nats(replace(model, weights=dense), [text])
    found = token_nats(smaller, [text], ffn=low_rank_feed_forward)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(found - token_nats(model, [text])).max() > 0.01


def test_factors_of_blocks_are_blocks():
    model = random_model(1, dim=96, hidden_dim=160, n_heads=6)
    weights = {
        n: quantize(w, "q8_0") if n.endswith("w_up") else w for n, w in model.weights.items()
    }
    smaller, rank = low_rank(replace(model, weights=weights), 0.6)
    left = smaller.weights["layers.2.w_up.left"]
    assert rank == 32 and left.shape == (160, 1) and left.dtype == weights["layers.2.w_up"].dtype
    assert smaller.weights["layers.2.w_gate.left"].shape == (160, 36)
