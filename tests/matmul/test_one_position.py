"""One position times stored weights, against sums in float64 of the dequantized weights."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_blocks import random_blocks

from llama_edu.matmul import one_position
from llama_edu.matmul.product import matmul
from llama_edu.quants.blocks import BLOCK_TYPES, dequantize
from llama_edu.quants.quantize import quantize

TYPES = [name for name, block in BLOCK_TYPES.items() if block.unpack or name in ("f16", "bf16")]


def assert_products(y: np.ndarray, x: np.ndarray, w: np.ndarray) -> None:
    numbers = dequantize(w).astype(np.float64)
    error = np.abs(y - numbers @ x.astype(np.float64))
    assert y.dtype == np.float32
    assert np.all(error <= 1e-5 * (np.abs(numbers) @ np.abs(x).astype(np.float64)))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("type_name", TYPES)
@pytest.mark.parametrize(("rows", "columns"), [(1, 256), (5, 768), (67, 1280)])
def test_products_are_those_of_the_dequantized_weights(type_name, rows, columns, order):
    w = random_blocks(type_name, rows, columns)
    w = w.astype(w.dtype.newbyteorder(order))
    x = np.random.default_rng(1).standard_normal((1, columns)).astype(np.float32)
    assert_products(matmul(x, w)[0], x[0], w)


@pytest.mark.parametrize("columns", [32, 96, 160, 224])
def test_any_number_of_groups_is_summed(columns):
    """1, 3, 5 and 7 groups, where four at a time go into one product if they divide."""
    w = random_blocks("q5_1", 9, columns)
    x = np.random.default_rng(1).standard_normal(columns).astype(np.float32)
    assert_products(one_position.multiply(x, w, BLOCK_TYPES["q5_1"], 1), x, w)


@pytest.mark.parametrize("type_name", ["f16", "bf16", "q4_0", "q6_k"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_tiles_and_threads_change_nothing(monkeypatch, type_name, threads):
    w = random_blocks(type_name, 101, 512)
    x = np.random.default_rng(1).standard_normal(512).astype(np.float32)
    whole = one_position.multiply(x, w, BLOCK_TYPES[type_name], 1)
    monkeypatch.setattr(one_position, "TILE_NUMBERS", 7 * 512)
    monkeypatch.setattr(one_position, "NUMBERS_PER_THREAD", 8 * 512)
    tiled = one_position.multiply(x, w, BLOCK_TYPES[type_name], threads)
    rounding = 1e-6 * (np.abs(dequantize(w)) @ np.abs(x))
    assert np.all(np.abs(tiled - whole) <= rounding)
    assert_products(
        one_position.multiply(x, w[13:29], BLOCK_TYPES[type_name], threads), x, w[13:29]
    )


def test_infinities_and_nans_of_float16_stay_what_they_are():
    w = np.ones((4, 32), np.float16)
    w[0, 3], w[1, 4], w[2, 5] = np.inf, -np.inf, np.nan
    y = one_position.multiply(np.ones(32, np.float32), w, BLOCK_TYPES["f16"], 1)
    assert y[0] == np.inf and y[1] == -np.inf and np.isnan(y[2]) and y[3] == 32


def test_large_activations_do_not_overflow_on_the_way():
    w = np.full((1, 32), 2.0**-14, np.float16)
    w[0, 1::2] = -(2.0**-24)  # subnormal
    x = np.full(32, 2.0**60, np.float32)
    y = one_position.multiply(x, w, BLOCK_TYPES["f16"], 1)
    assert y[0] == np.float32(16 * 2.0**60 * (2.0**-14 - 2.0**-24))


def test_16_bit_floats_that_cannot_be_read_in_pairs_go_the_clear_way():
    x = np.ones((1, 31), np.float32)
    odd = np.full((3, 31), 0.5, np.float16)
    shifted = np.ndarray((3, 30), np.float16, b"\0\0" + b"\0\x38" * 90, 2)  # 0.5, not at 4 bytes
    strided = np.full((3, 60), 0.5, np.float16)[:, ::2]
    for w in (odd, shifted, strided, np.full((3, 30), 0.5, ">f2")):
        assert not one_position.can_multiply(w, BLOCK_TYPES["f16"])
        n = w.shape[1]
        assert np.array_equal(matmul(x[:, :n], w), np.full((1, 3), n / 2, np.float32))


def test_one_position_and_many_agree_on_quantized_weights(rng):
    w = quantize(rng.standard_normal((40, 288)).astype(np.float32), "q4_1")
    x = rng.standard_normal((5, 288)).astype(np.float32)
    many = matmul(x, w)
    one_by_one = np.concatenate([matmul(x[t : t + 1], w) for t in range(5)])
    np.testing.assert_allclose(one_by_one, many, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("type_name", TYPES)
def test_any_bytes_are_multiplied_without_a_warning(type_name):
    """Scales of a damaged file may be infinite, NaN or too large for their sums."""
    dtype = BLOCK_TYPES[type_name].dtype
    raw = np.random.default_rng(3).integers(0, 256, (40, 8, dtype.itemsize), np.uint8)
    w = raw.view(dtype)[..., 0]
    x = np.ones((1, 8 * BLOCK_TYPES[type_name].block_size), np.float32)
    y = matmul(x, w)
    assert y.shape == (1, 40) and y.dtype == np.float32
