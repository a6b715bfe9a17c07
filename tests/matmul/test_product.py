"""x @ w.T over stored weights: right in every plain type, and never a copy of the whole matrix."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from llama_edu.errors import ShapeError
from llama_edu.matmul import product
from llama_edu.matmul import threads as threads_module
from llama_edu.matmul.one_position import TILE_NUMBERS
from llama_edu.matmul.product import matmul, products
from llama_edu.matmul.quicker import QuickerWay
from llama_edu.matmul.tiles import TILE_BYTES
from llama_edu.quants.blocks import BF16, BLOCK_TYPES, dequantize
from llama_edu.quants.quantize import quantize


def test_f16_weights_give_the_product_of_their_values(rng):
    x = rng.standard_normal((3, 40)).astype(np.float32)
    w = rng.standard_normal((40_000, 40)).astype(np.float16)  # several tiles, the last one short
    assert len(w) % (TILE_BYTES // (4 * 40)) and len(w) * 40 * 4 > TILE_BYTES
    expected = x.astype(np.float64) @ w.astype(np.float64).T
    result = matmul(x, w)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-4)


def test_bf16_and_big_endian_weights_give_the_product_of_their_values(rng):
    x = rng.standard_normal((2, 24)).astype(np.float32)
    w = rng.standard_normal((40, 24)).astype(np.float32)
    upper = (w.view(np.uint32) >> 16).astype(np.uint16)
    cut = (upper.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(matmul(x, upper.view(BF16)), x @ cut.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(matmul(x, w.astype(">f4")), x @ w.T, rtol=1e-5, atol=1e-5)


def test_unaligned_float32_gives_the_same_product(rng):
    """Tensors of ggml and ggmf files start at any byte."""
    x = rng.standard_normal((2, 24)).astype(np.float32)
    w = rng.standard_normal((40, 24)).astype(np.float32)
    shifted = np.ndarray(w.shape, np.float32, b"\0" + w.tobytes(), 1)
    assert not shifted.flags.aligned
    np.testing.assert_allclose(matmul(x, shifted), x @ w.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("type_name", "T", "n_bytes"),
    [
        ("f32", 1, 0),
        ("f32", 3, 0),
        ("f16", 1, 4 * TILE_NUMBERS),  # as float32
        ("f16", 3, TILE_BYTES),
        ("q8_0", 1, 6 * TILE_NUMBERS),  # as float32, the codes apart, a little for the scales
        ("q8_0", 3, 2 * TILE_BYTES),
        ("q4_0", 1, 8 * TILE_NUMBERS),
    ],
)
def test_no_matrix_is_copied_whole(type_name, T, n_bytes):
    """16 M weights: the working memory is that of one tile; float32 needs none at all."""
    block = BLOCK_TYPES[type_name]
    w = np.zeros((16384, 1024 // block.block_size), block.dtype)
    x = np.ones((T, 1024), np.float32)
    matmul(x, w[:8])
    tracemalloc.start()
    matmul(x, w)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n_bytes + T * 4 * 16384 + 60_000 < 4 * 16384 * 1024 / 6  # a copy's float32


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("T", [3, 17])
def test_float32_rows_are_shared_by_our_own_threads_for_a_prompt(rng, monkeypatch, T, threads):
    shared = []

    def run_shares(work, n_items, n_threads, smallest):
        shared.append(n_threads)
        threads_module.run_shares(work, n_items, n_threads, smallest)

    monkeypatch.setattr(product, "run_shares", run_shares)
    monkeypatch.setattr(product, "can_control_blas", lambda: True)
    monkeypatch.setattr(product, "_quicker", QuickerWay(2))  # which tries ours first
    x = rng.standard_normal((T, 200)).astype(np.float32)
    w = rng.standard_normal((1037, 200)).astype(np.float32)
    np.testing.assert_allclose(matmul(x, w, threads), x @ w.T, rtol=1e-4, atol=1e-4)
    assert shared == ([2] if T > 16 and threads > 1 else [])  # a third one finds too little
    small = w[:, :100].copy()
    np.testing.assert_allclose(
        matmul(x[:, :100], small, threads), x[:, :100] @ small.T, rtol=1e-4, atol=1e-4
    )
    assert len(shared) <= 1


def test_widths_that_differ_are_named():
    with pytest.raises(ShapeError, match="x has 5 features, expected 4"):
        matmul(np.ones((1, 5), np.float32), np.ones((3, 4), np.float16))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("T", [1, 3])
@pytest.mark.parametrize("type_name", ["f32", "f16", "q8_0"])
def test_several_matrices_side_by_side_are_each_multiplied(rng, type_name, T, threads):
    x = rng.standard_normal((T, 640)).astype(np.float32)
    heights = (700, 900, 500)  # large enough to be shared, as one of them alone would not be
    numbers = [rng.standard_normal((height, 640)).astype(np.float32) for height in heights]
    matrices = numbers if type_name == "f32" else [quantize(n, type_name) for n in numbers]
    results = products(matmul, x, matrices, threads)
    assert [result.shape for result in results] == [(T, height) for height in heights]
    for result, w in zip(results, matrices, strict=True):
        np.testing.assert_allclose(result, x @ dequantize(w).T, rtol=1e-4, atol=1e-3)


def test_an_error_in_one_of_several_matrices_is_raised(rng):
    x = np.ones((1, 640), np.float32)
    matrices = [np.ones((700, 640), np.float16), np.ones((700, 641), np.float16)]
    with pytest.raises(ShapeError, match="x has 640 features, expected 641"):
        products(matmul, x, matrices, 2)
