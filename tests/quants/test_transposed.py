"""Blocks that run along the first axis of a matrix: every number where the matrix has it."""

from __future__ import annotations

import numpy as np
import pytest

from llama_edu.errors import ShapeError
from llama_edu.matmul.product import matmul
from llama_edu.quants.blocks import by_column, dequantize, dequantize_into
from llama_edu.quants.quantize import quantize
from llama_edu.quants.scaled import ScaledArray
from llama_edu.quants.transposed import TransposedBlocks


def made(kind="q4_1", n_rows=96, n_columns=50):
    rng = np.random.default_rng(7)
    numbers = rng.standard_normal((n_columns, n_rows)).astype(np.float32)
    stored = quantize(numbers, kind)
    return TransposedBlocks(stored, 32), dequantize(stored).T


@pytest.mark.parametrize("kind", ["q4_1", "q8_0", "q5_0"])
def test_it_stands_for_the_matrix_that_was_stored_transposed(kind):
    array, numbers = made(kind)
    assert (array.shape, array.ndim, len(array)) == ((96, 50), 2, 96)
    assert array.nbytes == array.stored.nbytes
    assert np.array_equal(dequantize(array), numbers)


def test_many_columns_are_turned_round_in_chunks(monkeypatch):
    monkeypatch.setattr("llama_edu.quants.blocks._CHUNK_NUMBERS", 1000)
    array, numbers = made()
    assert np.array_equal(dequantize(array), numbers)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 96), (1, 2), (31, 33), (40, 40), (64, 96), (5, 90)]
)
def test_rows_may_begin_and_end_inside_of_a_block(start, stop):
    array, numbers = made()
    part = array[start:stop]
    assert np.array_equal(dequantize(part), numbers[start:stop])
    assert np.array_equal(dequantize(part[1:3]), numbers[start:stop][1:3])
    blocks = len({row // 32 for row in range(start, stop)})
    assert part.nbytes == blocks * 50 * 20


@pytest.mark.parametrize("T", [1, 3, 40])
def test_it_multiplies(T):
    array, numbers = made()
    x = np.random.default_rng(1).standard_normal((T, 50)).astype(np.float32)
    np.testing.assert_allclose(matmul(x, array), x @ numbers.T, atol=1e-4)
    with pytest.raises(ShapeError, match="x has 49 features, expected 50"):
        matmul(x[:, :49], array)


def test_a_buffer_of_another_shape_is_refused():
    with pytest.raises(ShapeError, match=r"expected float32 \(96, 50\)"):
        dequantize_into(made()[0], np.empty((50, 96), np.float32))


def test_columns_are_given_as_rows_where_no_block_crosses_them():
    array, _ = made()
    assert by_column(array) is array.stored
    plain = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.shares_memory(by_column(plain), plain) and by_column(plain)[1, 1] == 4
    assert by_column(quantize(np.ones((2, 32), np.float32), "q8_0")) is None
    assert by_column(ScaledArray(np.ones((2, 4), np.int8), np.ones(2, np.float32), 4)) is None
