"""The compiled 8-bit products against their twin in numpy, and against sums of integers."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_blocks import random_blocks

from llama_edu.errors import ShapeError
from llama_edu.matmul import matmul, matmul_for
from llama_edu.matmul.arithmetic import rounded_matmul
from llama_edu.quants.blocks import dequantize

pytest.importorskip("numba")

from llama_edu.matmul.jit import product as floats
from llama_edu.matmul.jit.int8 import instructions, rounding
from llama_edu.matmul.jit.int8 import product as int8

TWIN = rounded_matmul(matmul, "int8")
INT8 = int8.int8_matmul(rounded_matmul(floats.matmul, "int8"))
WITH_LOOPS = pytest.mark.skipif(
    instructions.host_instructions() is None, reason="no 8-bit instructions on this processor"
)


def positions(T: int, columns: int, seed: int = 1) -> np.ndarray:
    """Numbers of different sizes: some blocks are large, some zero, some smaller than 1e-37."""
    x = np.random.default_rng(seed).standard_normal((T, columns)).astype(np.float32)
    x[:, : columns // 4] *= 50
    x[0, 32:64] = 0
    x[-1, 64:96] *= np.float32(1e-40)
    return x


def check_equal(found: np.ndarray, x: np.ndarray, w: np.ndarray) -> None:
    expected = TWIN(x, w, 1)
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(dequantize(w), axis=1)
    assert found.dtype == np.float32 and found.shape == expected.shape
    assert (np.abs(found - expected) <= 1e-6 * norms).all()


@pytest.mark.parametrize("T", [1, 2, 3, 5, 16, 17, 128])
@pytest.mark.parametrize("type_name", int8.TYPES)
def test_a_product_equals_its_twin(type_name, T):
    for rows, columns in ((1, 256), (7, 512), (16, 768), (53, 1280)):
        w, x = random_blocks(type_name, rows, columns), positions(T, columns)
        for threads in (1, 2, 3):
            check_equal(INT8(x, w, threads), x, w)


@pytest.mark.parametrize("type_name", int8.TYPES)
def test_it_is_not_the_product_of_unrounded_numbers(type_name):
    w, x = random_blocks(type_name, 20, 512), positions(6, 512)
    for T in (1, 6):
        exact = matmul(x[:T], w)
        assert np.linalg.norm(INT8(x[:T], w) - exact) > 1e-4 * np.linalg.norm(exact)


@pytest.mark.parametrize("type_name", ["q4_0", "q8_0", "q5_1", "iq4_nl"])
def test_widths_that_only_blocks_of_32_have(type_name):
    for columns in (32, 96, 224):
        for T in (1, 9):
            w, x = random_blocks(type_name, 21, columns), positions(T, columns)
            check_equal(INT8(x, w), x, w)


@pytest.mark.parametrize("type_name", int8.TYPES)
def test_a_matrix_may_begin_at_any_byte_and_be_part_of_another(type_name):
    w = random_blocks(type_name, 40, 512)
    data = np.empty(w.nbytes + 3, np.uint8)
    for offset in (1, 2, 3):
        there = data[offset : offset + w.nbytes]
        there[...] = w.view(np.uint8).reshape(-1)
        moved = there.view(w.dtype).reshape(w.shape)
        for T in (1, 6):
            x = positions(T, 512)
            whole = INT8(x, w)
            assert np.array_equal(INT8(x, moved), whole)
            assert np.array_equal(INT8(x, moved[13:30]), whole[:, 13:30])


@WITH_LOOPS
@pytest.mark.parametrize("type_name", int8.TYPES)
def test_what_is_no_number_shows_where_the_twin_shows_it(type_name):
    w = random_blocks(type_name, 36, 512)
    w["scale"][2, 1] = np.inf
    w["scale"][20, 0] = np.nan
    for T in (1, 7):
        x = positions(T, 512)
        for value in (None, 3e10, np.nan, np.inf, -np.inf):  # 3e10 / 127 is no float16
            if value is not None:
                x[T // 2, 300] = value
            with np.errstate(invalid="ignore", over="ignore"):
                expected = TWIN(x, w, 1)
            assert np.array_equal(np.isfinite(INT8(x, w)), np.isfinite(expected)), value


def test_a_number_too_small_to_divide_by_counts_as_zero():
    x = np.full((1, 256), 1e-38, np.float32)
    for name in ("q8_0", "q4_k"):
        w = random_blocks(name, 3, 256)
        assert not TWIN(x, w, 1).any() and not INT8(x, w).any()


def test_x_need_not_be_contiguous():
    w = random_blocks("q4_0", 19, 64)
    x = positions(12, 128)[:, ::2]
    assert np.array_equal(INT8(x, w), INT8(np.ascontiguousarray(x), w))


def test_a_wrong_width_is_named():
    with pytest.raises(ShapeError, match="x has 33 features, expected 32"):
        INT8(np.ones((1, 33), np.float32), random_blocks("q8_0", 3, 32))


def test_other_layouts_and_types_go_the_other_way():
    x = positions(3, 256)
    swapped = random_blocks("q4_0", 5, 256)
    swapped = swapped.astype(swapped.dtype.newbyteorder(">"))
    asked = []

    def other(x, w, threads):
        asked.append(w.dtype)
        return np.zeros((len(x), len(w)), np.float32)

    multiply = int8.int8_matmul(other)
    w = random_blocks("q8_0", 5, 512)
    multiply(x, swapped)
    multiply(x, w[:, ::2])
    multiply(x, random_blocks("mxfp4", 5, 256))
    assert len(asked) == 3


@WITH_LOOPS
@pytest.mark.parametrize("type_name", ["f16", "bf16"])
@pytest.mark.parametrize("T", [1, 4])
def test_a_few_positions_times_weights_of_16_bits(type_name, T):
    w, x = random_blocks(type_name, 53, 300), positions(T, 300)
    check_equal(int8.int8_matmul(floats.matmul)(x, w), x, w)


def test_a_processor_without_the_instructions_multiplies_what_was_rounded(monkeypatch):
    monkeypatch.setattr(instructions, "host_instructions", lambda: None)
    multiply = matmul_for("jit", [random_blocks("q4_k", 3, 256)], arithmetic="int8")
    for T in (1, 6):
        w, x = random_blocks("q4_k", 30, 512), positions(T, 512)
        assert np.array_equal(multiply(x, w, 1), rounded_matmul(floats.matmul, "int8")(x, w, 1))


def test_what_is_chosen_for_a_model_is_this_product():
    weights = [random_blocks(name, 21, 512) for name in ("q4_0", "f16", "iq4_xs")]
    for kernels in ("jit", "auto"):
        multiply = matmul_for(kernels, weights, 2, "int8")
        for w in weights:
            for T in (1, 6):
                x = positions(T, 512)
                check_equal(multiply(x, w, 2), x, w)
    assert matmul_for("numpy", weights) is matmul
    assert matmul_for("jit", weights) is floats.matmul


@WITH_LOOPS
@pytest.mark.parametrize("group", [16, 32])
def test_codes_scales_and_sums_stand_where_the_table_says(group):
    x = positions(3, 512)
    out = np.empty((3, rounding.row_bytes(512, group)), np.uint8)
    rounding.to_q8_k(x, out, group)
    n, G = 512, 512 // group
    codes = out[:, :n].view(np.int8).astype(int)
    fours = out[:, n : 2 * n].view(np.int32)
    scales, sums, totals = (
        out[:, 2 * n + i * 4 * G : 2 * n + (i + 1) * 4 * G].view(kind)
        for i, kind in enumerate((np.float32, np.float32, np.int32))
    )
    assert np.array_equal(fours, -codes.reshape(3, -1, 4).sum(axis=2))
    assert np.array_equal(totals, -codes.reshape(3, G, group).sum(axis=2))
    np.testing.assert_allclose(sums, scales * -totals, rtol=1e-6)
    numbers = codes.reshape(3, G, group) * scales[..., None]
    largest = np.abs(x).reshape(3, -1, 256).max(axis=2).repeat(256 // group, axis=1)
    assert (
        np.abs(numbers.reshape(x.shape) - x).reshape(3, G, -1).max(axis=2) <= largest / 253
    ).all()
