"""The KV cache: written in place, read by views, refused beyond its room."""

from __future__ import annotations

import numpy as np
import pytest

from llama_edu.errors import RequestError
from llama_edu.transformer.cache import KVCache


def test_extend_gives_views_of_all_positions_so_far(config, rng):
    cache = KVCache(config, 7)
    cache.length = 2
    k = rng.standard_normal((3, config.n_kv_heads, config.head_dim)).astype(np.float32)
    keys, values = cache.extend(1, k, k + 1)
    assert keys.shape == values.shape == (config.n_kv_heads, 5, config.head_dim)
    assert np.shares_memory(keys, cache.keys) and np.shares_memory(values, cache.values)
    np.testing.assert_array_equal(keys[:, 2:], k.transpose(1, 0, 2))
    np.testing.assert_array_equal(values[:, 2:], k.transpose(1, 0, 2) + 1)
    assert not cache.keys[0].any() and not cache.keys[2].any()  # other layers are untouched


def test_extend_leaves_length_to_the_caller(config):
    cache = KVCache(config, 7)
    cache.extend(0, *np.zeros((2, 3, config.n_kv_heads, config.head_dim), np.float32))
    assert cache.length == 0


def test_the_default_room_is_the_context_and_counts_its_bytes(config):
    cache = KVCache(config)
    assert cache.capacity == config.max_seq_len
    n_numbers = 2 * config.n_layers * config.n_kv_heads * config.max_seq_len * config.head_dim
    assert cache.n_bytes == 4 * n_numbers
    assert f"{4 * n_numbers:,} bytes when full" in repr(cache)


@pytest.mark.parametrize("capacity", [0, -1, 51])
def test_a_capacity_outside_the_context_is_refused(config, capacity):
    with pytest.raises(RequestError, match=f"capacity {capacity}, expected 1 to 50"):
        KVCache(config, capacity)


def test_truncate_goes_back_but_never_forward(config):
    cache = KVCache(config, 7)
    cache.length = 4
    cache.truncate(2)
    assert cache.length == 2
    for length in (3, -1):
        with pytest.raises(RequestError, match=f"go back to position {length}, expected 0 to 2"):
            cache.truncate(length)


def test_a_copy_holds_the_first_positions_and_shares_nothing(config, rng):
    cache, copy = KVCache(config, 7), KVCache(config, 9)
    k = rng.standard_normal((5, config.n_kv_heads, config.head_dim)).astype(np.float32)
    for layer in range(config.n_layers):
        cache.extend(layer, k + layer, k - layer)
    cache.length = 5
    copy.copy_from(cache, 3)
    assert copy.length == 3
    np.testing.assert_array_equal(copy.keys[:, :, :3], cache.keys[:, :, :3])
    np.testing.assert_array_equal(copy.values[:, :, :3], cache.values[:, :, :3])
    assert not copy.keys[:, :, 3:].any() and not np.shares_memory(copy.keys, cache.keys)
    with pytest.raises(RequestError, match="cannot copy 6 positions, expected 0 to 5"):
        copy.copy_from(cache, 6)
    with pytest.raises(RequestError, match="cannot copy 5 positions, expected 0 to 4"):
        KVCache(config, 4).copy_from(cache, 5)
