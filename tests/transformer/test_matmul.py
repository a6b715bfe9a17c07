"""x @ w.T over stored weights: right in every plain type, and never a copy of the whole matrix."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from llama_edu.errors import ShapeError
from llama_edu.files.blocks import BF16
from llama_edu.transformer.matmul import TILE_BYTES, matmul


def test_f16_weights_give_the_product_of_their_values(rng):
    x = rng.standard_normal((3, 40)).astype(np.float32)
    w = rng.standard_normal((5000, 40)).astype(np.float16)  # several tiles, the last one short
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


@pytest.mark.parametrize(("dtype", "n_bytes"), [("f2", 2 * TILE_BYTES), ("f4", 0)])
def test_no_matrix_is_copied_whole(rng, dtype, n_bytes):
    """16 MB of weights, at most two tiles of working memory; float32 needs none at all."""
    w = np.ones((4096, 1024), dtype)
    x = np.ones((1, 1024), np.float32)
    matmul(x, w[:8])
    tracemalloc.start()
    matmul(x, w)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n_bytes + 4 * 4096 + 20_000


def test_widths_that_differ_are_named():
    with pytest.raises(ShapeError, match="x has 5 features, expected 4"):
        matmul(np.ones((1, 5), np.float32), np.ones((3, 4), np.float16))
