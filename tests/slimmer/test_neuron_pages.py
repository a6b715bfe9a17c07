"""The pages of kept neurons by arithmetic, against the address of every stored block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.errors import RequestError
from llama_edu.files.layout import TensorSpec, n_bytes_for
from llama_edu.slimmer.llama_sizes import llama_sizes
from llama_edu.slimmer.neuron_pages import page_runs

PAGE = 64


def spec_of(kind, shape, offset, *, transposed=False, gap=0):
    stored = shape[::-1] if transposed else shape
    row_bytes = n_bytes_for(kind, (stored[1],), "row")
    spec = TensorSpec("w", kind, shape, offset, stored[0] * row_bytes, transposed=transposed)
    if not gap:
        return spec
    n_bytes = (stored[0] - 1) * (row_bytes + gap) + row_bytes
    return TensorSpec("w", kind, shape, offset, n_bytes, transposed=transposed,
                      strides=(row_bytes + gap, spec.dtype.itemsize))  # fmt: skip


SPECS = {
    "rows of f16": (spec_of("f16", (50, 9), 30), 0),
    "rows longer than a page": (spec_of("f32", (20, 40), 12), 0),
    "rows of blocks": (spec_of("q4_1", (33, 64), 100), 0),
    "rows with others between": (spec_of("f16", (40, 5), 70, gap=90), 0),
    "columns": (spec_of("f16", (7, 50), 30), 1),
    "columns of long rows": (spec_of("f32", (5, 70), 20), 1),
    "columns in blocks": (spec_of("q8_0", (9, 96), 62), 1),
    "columns in blocks, a row to a page": (spec_of("q4_0", (9, 64), 28), 1),
    "columns as rows": (spec_of("q8_0", (64, 21), 10, transposed=True), 1),
    "columns as rows, others between": (spec_of("q4_1", (32, 30), 9, transposed=True, gap=50), 1),
}  # fmt: skip


def slow_pages(spec, axis, neurons):
    pages = set()
    stored_axis = 1 - axis if spec.transposed else axis
    data = np.zeros(spec.end, np.uint8)
    array = np.ndarray(spec.stored_shape, spec.dtype, data, spec.offset, spec.strides)
    for place in np.ndindex(array.shape):
        size = spec.block_size if stored_axis == 1 else 1
        first = place[stored_axis] * size
        if any(n in neurons for n in range(first, first + size)):
            at = spec.offset + sum(i * s for i, s in zip(place, array.strides, strict=True))
            pages |= {at // PAGE, (at + spec.dtype.itemsize - 1) // PAGE}
    return pages


@given(st.sampled_from(sorted(SPECS)), st.sets(st.integers(0, 95)))
def test_runs_of_neurons_give_the_pages_of_their_blocks(name, neurons):
    spec, axis = SPECS[name]
    neurons = {n for n in neurons if n < spec.shape[axis]}
    found = set()
    for pages, start, stop in page_runs(spec, axis, PAGE):
        assert (start <= stop).all() and stop.max(initial=0) <= spec.shape[axis]
        assert len(set(pages.tolist())) == len(pages)
        for page, a, b in zip(pages.tolist(), start.tolist(), stop.tolist(), strict=True):
            if neurons & set(range(a, b)):
                found.add(page)
    assert found <= slow_pages(spec, axis, neurons)
    # a page may hold a piece of a block and no first byte of one
    assert found == slow_pages(spec, axis, neurons)


def test_what_does_not_lie_row_after_row_is_refused():
    scaled = TensorSpec("w_gate", "i8_scaled", (4, 8), 0, 64, group_size=4)
    strided = TensorSpec("w_down", "f32", (6, 4), 0, 96, strides=(4, 24))
    for spec, axis in ((scaled, 0), (strided, 1)):
        with pytest.raises(RequestError, match=f"{spec.name}: its numbers do not lie row after"):
            page_runs(spec, axis, PAGE)


def test_the_llamas_of_2023_by_arithmetic():
    """The shares of the file that a trial of its own found, with pages of 4,096 bytes."""
    found = {(s.name, s.type): s for s in llama_sizes((0.5, 0.7, 0.9), 4096)}
    assert len(found) == 8
    seven, thirty = found["7B", "q4_0"], found["30B", "q4_0"]
    assert (round(seven.floor_fraction, 3), round(thirty.floor_fraction, 3)) == (0.338, 0.333)
    assert [round(f, 2) for f in thirty.fractions["rows"]] == [0.89, 0.78, 0.64]
    assert [round(f, 2) for f in thirty.fractions["side-by-side"]] == [0.72, 0.58, 0.42]
    everything, nothing = llama_sizes((0.0, 1.0), 4096)[0].fractions["side-by-side"]
    assert nothing == seven.floor_fraction and 0.979 < everything < 0.982  # no embedding table
