"""forward() against the slow twin, and the properties of a causal model with a cache."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from helpers import reference
from helpers.small_models import random_weights, small_config

from llama_edu.config import RopeScaling
from llama_edu.errors import RequestError
from llama_edu.matmul.one_position import TILE_NUMBERS
from llama_edu.matmul.product import matmul
from llama_edu.rope import rope_frequencies
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import Model, forward

TOKENS = [1, 270, 5, 5, 99, 3, 260, 0, 17, 44, 8]


def model_of(config, weights, **changes):
    return Model(config, weights, rope_frequencies(config), **changes)


def logits_of(model, tokens, chunk=None):
    cache = KVCache(model.config)
    step = chunk or len(tokens)
    rows = [forward(model, tokens[i : i + step], cache) for i in range(0, len(tokens), step)]
    assert cache.length == len(tokens)
    return np.concatenate(rows)


@pytest.mark.parametrize("pairing", ["interleaved", "halves"])
@pytest.mark.parametrize("tied", [False, True], ids=["own output", "tied output"])
def test_forward_equals_the_slow_twin(rng, pairing, tied):
    config = small_config(rope_pairing=pairing, rope_theta=500.0)
    weights = random_weights(config, rng, tied=tied)
    expected = reference.forward(config, weights, TOKENS)
    result = logits_of(model_of(config, weights), TOKENS)
    assert result.dtype == np.float32 and result.shape == (len(TOKENS), config.vocab_size)
    assert expected.std() > 1  # so that the tolerance below means something
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_relu_equals_the_slow_twin_and_is_not_silu(rng):
    config = small_config(activation="relu")
    weights = random_weights(config, rng)
    result = logits_of(model_of(config, weights), TOKENS)
    np.testing.assert_allclose(result, reference.forward(config, weights, TOKENS), atol=1e-4)
    other = logits_of(model_of(small_config(), weights), TOKENS)
    assert np.abs(other - result).max() > 0.1


def test_another_feed_forward_is_computed_in_its_place(rng):
    """It sees each layer once, in order, with the sum that attention left."""
    config = small_config()
    model, layers = model_of(config, random_weights(config, rng)), []

    def nothing(model, layer, x, see):
        layers.append((layer, x.shape))
        return np.zeros_like(x)

    without = forward(model, TOKENS, KVCache(config), ffn=nothing)
    assert layers == [(i, (len(TOKENS), config.dim)) for i in range(config.n_layers)]

    def no_down(name, x):
        return np.zeros_like(x) if name.endswith(".down") else x

    np.testing.assert_array_equal(without, forward(model, TOKENS, KVCache(config), tap=no_down))


@pytest.mark.parametrize("threads", [2, 5, 16])
@pytest.mark.parametrize("n_kv_heads", [1, 2, 3])
def test_more_threads_than_key_value_heads_change_nothing(rng, n_kv_heads, threads):
    config = small_config(n_kv_heads=n_kv_heads)
    weights = random_weights(config, rng)
    tokens = rng.integers(0, config.vocab_size, 40).tolist()
    alone = logits_of(model_of(config, weights), tokens)
    shared = logits_of(model_of(config, weights, threads=threads), tokens)
    np.testing.assert_allclose(shared, alone, atol=2e-5)


def test_a_head_width_apart_from_dim_is_honored(rng):
    """Some models have heads wider than dim / n_heads."""
    config = small_config(head_dim=10)
    assert config.q_dim != config.dim
    weights = random_weights(config, rng)
    np.testing.assert_allclose(
        logits_of(model_of(config, weights), TOKENS[:5]),
        reference.forward(config, weights, TOKENS[:5]),
        atol=1e-4,
    )


@pytest.mark.parametrize("chunk", [1, 2, 4, 7])
def test_prefill_in_chunks_equals_all_at_once(config, weights, chunk):
    model = model_of(config, weights)
    np.testing.assert_allclose(logits_of(model, TOKENS, chunk), logits_of(model, TOKENS), atol=2e-5)


def test_a_later_token_cannot_change_an_earlier_row(config, weights):
    model = model_of(config, weights)
    changed = [*TOKENS[:-1], 200]
    before, after = logits_of(model, TOKENS), logits_of(model, changed)
    np.testing.assert_array_equal(after[:-1], before[:-1])
    assert np.abs(after[-1] - before[-1]).max() > 0.1


def test_an_earlier_token_does_change_later_rows(config, weights):
    model = model_of(config, weights)
    before, after = logits_of(model, TOKENS), logits_of(model, [2, *TOKENS[1:]])
    assert (np.abs(after - before).max(axis=1) > 1e-3).all()


def test_last_only_scores_the_last_position(config, weights):
    model = model_of(config, weights)
    last = forward(model, TOKENS, KVCache(config), last_only=True)
    assert last.shape == (1, config.vocab_size)
    np.testing.assert_allclose(last[0], logits_of(model, TOKENS)[-1], atol=2e-5)


def test_going_back_in_the_cache_forgets_what_came_after(config, weights):
    model = model_of(config, weights)
    cache = KVCache(config)
    forward(model, TOKENS, cache)
    cache.truncate(4)
    np.testing.assert_allclose(
        forward(model, [7], cache)[0], logits_of(model, [*TOKENS[:4], 7])[-1], atol=2e-5
    )


def test_every_activation_is_float32(config, weights):
    """One float64 array and numpy would build a float64 copy of a mapped matrix."""
    seen = []

    def watched(x, w, *threads):
        seen.append(x.dtype)
        result = matmul(x, w, *threads)
        seen.append(result.dtype)
        return result

    stored = {k: v.astype(np.float16) if v.ndim == 2 else v for k, v in weights.items()}
    cache = KVCache(config)
    for tokens in (TOKENS, [3]):
        logits = forward(model_of(config, stored, matmul=watched), tokens, cache)
        assert logits.dtype == np.float32
    assert set(seen) == {np.dtype(np.float32)} and len(seen) == 2 * 2 * (7 * config.n_layers + 1)
    assert cache.keys.dtype == cache.values.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_decoding_needs_no_memory_near_the_size_of_the_weights(dtype):
    config = small_config(dim=504, hidden_dim=1400, vocab_size=40_000)
    weights = {
        name: np.full(shape, 0.01, dtype if len(shape) == 2 else np.float32)
        for name, shape in config.tensor_shapes().items()
    }
    weight_bytes = sum(array.nbytes for array in weights.values())
    model, cache = model_of(config, weights), KVCache(config)
    forward(model, [1, 2], cache)
    tracemalloc.start()
    forward(model, [3], cache)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * TILE_NUMBERS + 400_000 < weight_bytes / 10


def test_the_log_is_told_every_weight_once(config, weights):
    class Log:
        def __init__(self):
            self.names, self.row_reads = [], []

        def whole(self, name):
            self.names.append(name)

        def rows(self, name, rows):
            self.row_reads.append((name, list(rows)))

    log = Log()
    forward(model_of(config, weights, log=log), [5, 9], KVCache(config))
    assert sorted(log.names) == sorted(set(weights) - {"token_embedding"})
    assert log.row_reads == [("token_embedding", [5, 9])]


@pytest.mark.parametrize("token", [-1, 271, 10**12])
def test_an_unknown_id_is_named_with_its_place(config, weights, token):
    with pytest.raises(RequestError, match=f"id {token} at position 1, expected 0 to 270"):
        forward(model_of(config, weights), [1, token], KVCache(config))


def test_no_token_at_all_is_refused(config, weights):
    with pytest.raises(RequestError, match="none given, expected at least one; start with BOS"):
        forward(model_of(config, weights), [], KVCache(config))


def test_more_positions_than_the_cache_holds_are_refused_and_change_nothing(config, weights):
    cache = KVCache(config, 4)
    model = model_of(config, weights)
    forward(model, [1, 2, 3], cache)
    with pytest.raises(RequestError, match="5 positions needed, expected at most 4"):
        forward(model, [4, 5], cache)
    assert cache.length == 3


def test_linear_rope_scaling_divides_every_frequency():
    plain = rope_frequencies(small_config())
    scaled = rope_frequencies(small_config(rope_scaling=RopeScaling("linear", 4.0)))
    np.testing.assert_allclose(scaled, plain / 4)


def test_llama3_rope_scaling_follows_the_published_rule():
    """Wavelength by wavelength, as the rule is written: keep, divide, or blend."""
    scaling = RopeScaling("llama3", 8.0)
    config = replace(small_config(dim=768, n_heads=6, rope_theta=500000.0), rope_scaling=scaling)
    plain = rope_frequencies(replace(config, rope_scaling=None))
    expected, branches = [], set()
    for f in plain:
        wavelength = 2 * np.pi / f
        if wavelength < 8192 / 4:
            branches.add("kept")
            expected.append(f)
        elif wavelength > 8192 / 1:
            branches.add("divided")
            expected.append(f / 8)
        else:
            branches.add("blended")
            s = (8192 / wavelength - 1) / (4 - 1)
            expected.append((1 - s) * f / 8 + s * f)
    assert branches == {"kept", "divided", "blended"}
    np.testing.assert_allclose(
        rope_frequencies(config), expected, rtol=2e-7
    )  # files keep float32 divisors


def test_divisors_of_a_file_are_used_as_they_are():
    config = small_config()
    divisors = np.array([1.0, 3.0])
    np.testing.assert_allclose(
        rope_frequencies(config, divisors), rope_frequencies(config) / divisors
    )
