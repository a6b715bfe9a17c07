"""Byte ranges and pages, judged by counting byte by byte."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.pages.arithmetic import bytes_in_pages, n_pages_of, page_range, pages_of, runs_of

RANGES = st.lists(st.tuples(st.integers(0, 900), st.integers(0, 120)), max_size=12)


def slow_pages(ranges, n_pages, page_size):
    touched = np.zeros(n_pages, bool)
    for offset, n_bytes in ranges:
        for byte in range(offset, offset + n_bytes):
            touched[byte // page_size] = True
    return touched


@given(RANGES, st.sampled_from([1, 7, 64]))
def test_the_pages_of_ranges_are_those_of_their_bytes(ranges, page_size):
    n_pages = n_pages_of(1100, page_size)
    expected = slow_pages(ranges, n_pages, page_size)
    assert np.array_equal(pages_of(ranges, n_pages, page_size), expected)
    for offset, n_bytes in ranges:
        one = np.flatnonzero(slow_pages([(offset, n_bytes)], n_pages, page_size))
        assert list(page_range(offset, n_bytes, page_size)) == list(one)


@given(RANGES, st.integers(0, 900), st.integers(0, 150))
def test_bytes_in_marked_pages_are_counted_one_by_one(ranges, offset, n_bytes):
    marked = slow_pages(ranges, 18, 64)
    expected = sum(bool(marked[b // 64]) for b in range(offset, offset + n_bytes))
    assert bytes_in_pages(offset, n_bytes, marked, 64) == expected


@given(RANGES)
def test_runs_rebuild_the_bitmap_they_came_from(ranges):
    marked = slow_pages(ranges, 18, 64)
    runs = runs_of(marked)
    rebuilt = np.zeros(18, bool)
    for run in runs:
        rebuilt[run.start : run.stop] = True
    assert np.array_equal(rebuilt, marked)
    assert all(a.stop < b.start for a, b in itertools.pairwise(runs))


def test_a_byte_on_each_side_of_a_page_edge_touches_two_pages():
    assert list(page_range(4095, 2, 4096)) == [0, 1]
    assert list(page_range(4096, 4096, 4096)) == [1]
    assert list(page_range(4096, 0, 4096)) == []


def test_a_range_beyond_the_file_is_refused():
    with pytest.raises(IndexError, match="reaches page 3, the file has 3"):
        pages_of([(190, 3)], 3, 64)
