"""The compiled loops against the clear ones, and against sums in float64."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.random_blocks import random_blocks

import llama_edu
from llama_edu.convert import convert
from llama_edu.errors import RequestError, ShapeError
from llama_edu.matmul import choice, matmul
from llama_edu.quants.blocks import BLOCK_TYPES, dequantize

pytest.importorskip("numba")

from llama_edu.matmul.jit import few
from llama_edu.matmul.jit import product as jit


@pytest.mark.parametrize("type_name", jit.TYPES)
@pytest.mark.parametrize(
    ("rows", "columns", "T"), [(1, 256, 1), (7, 512, 2), (133, 768, 1), (5, 256, 5)]
)
def test_a_loop_equals_the_sum_of_products(type_name, rows, columns, T):
    w = random_blocks(type_name, rows, columns)
    x = np.random.default_rng(1).standard_normal((T, columns)).astype(np.float32)
    expected = x.astype(np.float64) @ dequantize(w).astype(np.float64).T
    scale = np.abs(x).astype(np.float64) @ np.abs(dequantize(w)).astype(np.float64).T
    for threads in (1, 2):
        y = jit.matmul(x, w, threads)
        assert y.dtype == np.float32 and y.shape == (T, rows)
        assert np.all(np.abs(y - expected) <= 1e-5 * scale)


@pytest.mark.parametrize("type_name", jit.TYPES)
def test_rows_of_a_larger_matrix_are_read_where_they_lie(type_name):
    w = random_blocks(type_name, 40, 512)
    x = np.ones((1, 512), np.float32)
    whole = jit.matmul(x, w)
    assert np.array_equal(jit.matmul(x, w[13:29]), whole[:, 13:29])


def test_columns_that_do_not_fill_the_lanes_are_counted_too():
    w = np.random.default_rng(0).standard_normal((9, 50)).astype(np.float16)
    x = np.random.default_rng(1).standard_normal((1, 50)).astype(np.float32)
    expected = x.astype(np.float64) @ w.astype(np.float64).T
    assert np.allclose(jit.matmul(x, w), expected, rtol=1e-5, atol=1e-5)


def test_subnormal_halves_are_exact():
    w = np.array([[2.0**-24, -(2.0**-20)] * 16], np.float16)
    x = np.ones((1, 32), np.float32)
    assert jit.matmul(x, w)[0, 0] == np.float32(16 * (2.0**-24 - 2.0**-20))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("T", [1, 9])
@pytest.mark.parametrize("type_name", jit.TYPES)
def test_a_weight_that_is_no_number_is_read_as_numpy_reads_it(type_name, T, value):
    """Damage must show: jit once made plausible numbers of an infinite float16."""
    w = random_blocks(type_name, 6, 512)
    field = next((f for f in ("scale", "bf16") if f in (w.dtype.names or ())), None)
    if field == "bf16":
        w["bf16"][2, 100] = np.float32(value).view(np.uint32) >> 16
    elif field:
        w[field][2, w.shape[1] // 2] = value
    else:
        w[2, 100] = value
    x = np.random.default_rng(1).standard_normal((T, 512)).astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        expected, found = matmul(x, w), jit.matmul(x, w)
    assert not np.isfinite(expected[:, 2]).any() and not np.isfinite(found[:, 2]).any()
    rest = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(found[:, rest], expected[:, rest], rtol=1e-4, atol=1e-4)


def test_what_the_loops_cannot_read_goes_the_clear_way():
    x = np.ones((1, 30), np.float32)
    unaligned = np.zeros(2 * 30 * 3 + 1, np.uint8)[1:].view(np.float16).reshape(3, 30)
    unaligned[...] = 0.5
    swapped = np.full((3, 30), 0.5, ">f2")
    strided = np.full((3, 60), 0.5, np.float16)[:, ::2]
    for w in (unaligned, swapped, strided, np.full((3, 30), 0.5, np.float32)):
        assert np.array_equal(jit.matmul(x, w), np.full((1, 3), 15, np.float32))


def test_a_wrong_width_is_named():
    with pytest.raises(ShapeError, match="x has 31 features, expected 32"):
        jit.matmul(np.ones((1, 31), np.float32), np.ones((2, 32), np.float16))


def test_unknown_kernels_are_refused_with_the_choices():
    with pytest.raises(RequestError, match="kernels is 'cuda', expected one of auto, numpy, jit"):
        choice.check_kernels("cuda")


def test_the_rows_of_large_matrices_are_shared_among_threads(monkeypatch):
    monkeypatch.setattr(few, "FOR_ONE_THREAD", 100 * 512)
    x = np.random.default_rng(1).standard_normal((2, 512)).astype(np.float32)
    for rows in (67, 133):  # one stays on one thread, the other does not
        w = random_blocks("q4_0", rows, 512)
        assert np.array_equal(jit.matmul(x, w, 3), jit.matmul(x, w, 1))


def test_two_threads_of_a_program_may_multiply_at_once():
    x = np.random.default_rng(1).standard_normal((1, 768)).astype(np.float32)
    matrices = [random_blocks(name, 200, 768) for name in ("q8_0", "q4_k")]
    expected = [jit.matmul(x, w, 2) for w in matrices]

    def often(i: int) -> bool:
        return all(np.array_equal(jit.matmul(x, matrices[i], 2), expected[i]) for _ in range(200))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(often, [0, 1])) == [True, True]


@pytest.mark.parametrize("type_name", jit.TYPES)
@pytest.mark.parametrize(("rows", "columns"), [(1, 256), (3, 768), (66, 1280)])
def test_tiles_are_the_dequantized_weights_to_the_bit(type_name, rows, columns):
    w = random_blocks(type_name, rows, columns)
    tile = np.empty((rows, columns), np.float32)
    jit.fill(BLOCK_TYPES[type_name], w, tile)
    assert np.array_equal(tile, dequantize(w))


@pytest.mark.parametrize("type_name", ["keep", "q8_0", "q4_0"])
def test_greedy_text_is_that_of_the_clear_kernels(tmp_path, type_name):
    path = tmp_path / "stories.gguf"
    convert(llama_edu.bundled_checkpoint(), path, to="gguf", type=type_name)
    texts = {}
    for kernels in ("numpy", "jit"):
        with llama_edu.load(path, kernels=kernels, arithmetic="float32") as llama:
            texts[kernels] = "".join(llama.generate("One day", n_tokens=120, temperature=0))
    assert len(texts["numpy"]) > 300 and texts["jit"] == texts["numpy"]
