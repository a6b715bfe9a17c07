"""The ledger's prediction, judged by the address of every single number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.errors import RequestError
from llama_edu.files.layout import TensorSpec
from llama_edu.pages.ledger import Ledger

PAGE = 64
SPECS = {
    spec.name: spec
    for spec in (
        TensorSpec("token_embedding", "f32", (13, 7), 20, 13 * 7 * 4),
        TensorSpec("layers.0.wq", "f16", (5, 9), 384, 90),
        TensorSpec("final_norm", "f32", (11,), 474, 44),
        TensorSpec("layers.0.w_up", "q4_0", (6, 64), 518, 6 * 2 * 18),
        # stored transposed: numbers of one column lie side by side
        TensorSpec("layers.0.wo", "f32", (4, 6), 736, 96, strides=(4, 16)),
        # a view on every other row
        TensorSpec("layers.0.wv", "f32", (3, 5), 832, 100, strides=(40, 4)),
        # blocks along the first axis, each row of them behind 10 bytes of something else
        TensorSpec(
            "layers.0.w_down", "q4_0", (64, 5), 940, 5 * 36 + 40, strides=(46, 18), transposed=True
        ),
    )
}
N_PAGES = 19


def slow_pages(spec: TensorSpec, rows, axis=0) -> np.ndarray:
    """The pages of each number's own bytes, one number at a time."""
    data = np.zeros(N_PAGES * PAGE, np.uint8)
    array = np.ndarray(spec.stored_shape, spec.dtype, data, spec.offset, spec.strides)
    if (axis == 1) != spec.transposed:  # which blocks of a stored row hold them
        rows = None if rows is None else {row // spec.block_size for row in rows}
        array = array.T
    index = np.arange(len(array)) if rows is None else rows
    touched = np.zeros(N_PAGES, bool)
    for place in np.ndindex(array.shape):
        if place[0] in index:
            address = array[place[0] :].ctypes.data - data.ctypes.data
            for axis in range(1, array.ndim):
                address += place[axis] * array.strides[axis]
            touched[address // PAGE : (address + spec.dtype.itemsize - 1) // PAGE + 1] = True
    return touched


@pytest.mark.parametrize("name", SPECS)
def test_a_whole_tensor_is_the_pages_of_all_its_numbers(name):
    ledger = Ledger(SPECS, PAGE, N_PAGES)
    ledger.whole(name)
    assert np.array_equal(ledger.pages(), slow_pages(SPECS[name], None))


@given(st.sampled_from([n for n in SPECS if n != "final_norm"]), st.sets(st.integers(0, 63)))
def test_rows_are_the_pages_of_their_numbers_and_no_others(name, rows):
    rows = [r for r in rows if r < SPECS[name].shape[0]]
    ledger = Ledger(SPECS, PAGE, N_PAGES)
    ledger.rows(name, rows)
    assert np.array_equal(ledger.pages(), slow_pages(SPECS[name], rows))


@given(st.sampled_from([n for n in SPECS if n != "final_norm"]), st.sets(st.integers(0, 63)))
def test_columns_are_the_pages_of_their_blocks_and_no_others(name, columns):
    columns = [c for c in columns if c < SPECS[name].shape[1]]
    ledger = Ledger(SPECS, PAGE, N_PAGES)
    ledger.columns(name, columns)
    assert np.array_equal(ledger.pages(), slow_pages(SPECS[name], columns, axis=1))
    assert ledger.is_empty == (not columns)


def test_a_column_is_one_range_for_each_row_and_is_kept_once():
    ledger = Ledger(SPECS, PAGE, N_PAGES)
    ledger.columns("layers.0.wq", [8])
    ledger.columns("layers.0.wq", [8, 8])
    assert ledger.ranges == tuple((384 + 18 * row + 16, 2) for row in range(5))
    assert ledger.n_bytes == 10


def test_overlapping_requests_count_each_range_once():
    ledger = Ledger(SPECS, PAGE, N_PAGES)
    ledger.rows("token_embedding", [3, 4])
    ledger.rows("token_embedding", [4, 5])
    assert ledger.n_bytes == 3 * 28 and len(ledger.ranges) == 3


@pytest.mark.parametrize("column", [9, -1])
def test_a_column_that_does_not_exist_is_refused(column):
    with pytest.raises(RequestError, match=f"wq: column {column}, expected 0 to 8"):
        Ledger(SPECS, PAGE, N_PAGES).columns("layers.0.wq", [2, column])


def test_columns_with_scales_behind_them_are_refused():
    spec = TensorSpec("w", "i8_scaled", (4, 8), 0, 64, group_size=4)
    with pytest.raises(RequestError, match="w: has its scales behind its numbers, expected them"):
        Ledger({"w": spec}, PAGE, 1).columns("w", [1])


def test_a_ledger_keeps_a_repeated_request_once_and_can_forget():
    ledger = Ledger(SPECS, PAGE, N_PAGES)
    ledger.rows("token_embedding", [3, 3])
    ledger.rows("token_embedding", np.array([3]))
    assert ledger.ranges == ((20 + 3 * 28, 28),)
    assert repr(ledger) == "Ledger(1 ranges, 28 bytes)"
    ledger.clear()
    assert not ledger.pages().any()


@pytest.mark.parametrize("row", [13, -1])
def test_a_row_that_does_not_exist_is_refused(row):
    with pytest.raises(RequestError, match=f"token_embedding: row {row}, expected 0 to 12"):
        Ledger(SPECS, PAGE, N_PAGES).rows("token_embedding", [2, row])


def test_an_unknown_tensor_is_named():
    with pytest.raises(RequestError, match=r"layers\.9\.wq: no such tensor"):
        Ledger(SPECS, PAGE, N_PAGES).whole("layers.9.wq")
