"""Pages told tensor by tensor: names from a file are text, whatever they are."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.records import PAGE, record_of
from helpers.small_lab import N_BYTES, TENSORS

from llama_edu.files.layout import TensorSpec
from llama_edu.pages.by_tensor import REST, TensorPages, kind_of, layer_of
from llama_edu.pages.residency import Residency, ResidentRow
from llama_edu.show.text.page_map import text_map

EVIL = "<script>\x1b[2J\u202e\nx"


@pytest.fixture
def marked(rng):
    pages = rng.random(-(-N_BYTES // PAGE)) < 0.4
    return TensorPages(TENSORS, N_BYTES, PAGE, pages)


def test_rows_agree_with_a_slow_count(marked):
    for row in marked.by_tensor():
        if row.name == REST:
            continue
        spec = TENSORS[row.name]
        where = {at // PAGE for at in range(spec.offset, spec.end)}
        assert row.n_pages == len(where) == marked.extent(row.name).sum()
        assert row.n_touched == sum(bool(marked.pages[page]) for page in where)
        assert row.touched_bytes == sum(
            bool(marked.pages[at // PAGE]) for at in range(spec.offset, spec.end)
        )


def test_the_bytes_of_all_rows_are_the_file(marked):
    assert sum(row.n_bytes for row in marked.by_tensor()) == N_BYTES
    assert marked.shown_rows()[-1].n_touched == marked.pages.sum()


def test_layers_and_kinds_are_told_from_names():
    assert (layer_of("layers.12.wq"), kind_of("layers.12.wq")) == ("layer 12", "layers.*.wq")
    assert layer_of("output") == kind_of("output") == "output"


def test_a_name_from_a_file_keeps_its_line_in_every_text(marked):
    tensors = {EVIL: TensorSpec(EVIL, "f32", (3, 1024), 0, 3 * PAGE)}
    record = record_of([1, 0, 1], tensors=tensors, label=EVIL, name=EVIL)
    cached = Residency(EVIL, 3 * PAGE, PAGE, np.ones(3, bool), (ResidentRow(EVIL, 3, 3, 3 * PAGE),))
    for text, n_lines in ((str(record), 6), (text_map(record), 4), (str(cached), 4)):
        assert "\x1b" not in text and "\u202e" not in text and r"\x1b[2J\u202e\nx" in text
        assert len(text.splitlines()) == n_lines
    assert "<script" not in record._repr_html_() and "&lt;script" in record._repr_html_()


def test_bytes_of_tensors_side_by_side_are_counted_once():
    """Rows of 40 and 60 bytes take turns, in pages of 64."""
    tensors = {
        spec.name: spec
        for spec in (
            TensorSpec("a", "f32", (8, 10), 0, 7 * 100 + 40, strides=(100, 4)),
            TensorSpec("b", "f32", (8, 15), 40, 7 * 100 + 60, strides=(100, 4)),
        )
    }
    pages = np.arange(13) % 2 == 0
    found = TensorPages(tensors, 800, 64, pages)
    owner = np.where(np.arange(800) % 100 < 40, "a", "b")
    marked = np.repeat(pages, 64)[:800]
    for row in found.by_tensor():
        own = owner == row.name
        assert (row.n_bytes, row.touched_bytes) == (own.sum(), (own & marked).sum())
        own_pages = {byte // 64 for byte in np.flatnonzero(own).tolist()}
        assert row.n_pages == len(own_pages)
        assert row.n_touched == sum(page % 2 == 0 for page in own_pages)
    assert [row.name for row in found.by_tensor()] == ["a", "b"]
