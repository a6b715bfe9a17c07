"""The page map as text: a line per tensor, or per layer, and the verdict."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.layered_lab import computed

from llama_edu.errors import MeasurementError
from llama_edu.show.text.page_map import shade, text_map


def test_shades_never_show_some_as_none_or_all():
    pages = np.zeros(1000, bool)
    assert shade(pages, 10) == " " * 10
    pages[:100] = True
    pages[500] = True
    assert shade(pages, 10) == "#    .    "
    pages[:] = True
    pages[999] = False
    assert shade(pages, 10) == "#########*"
    assert shade(pages[:3], 10) == "###"
    assert shade(pages[:0], 10) == ""


def test_a_text_map_has_a_line_per_tensor_and_the_verdict(lab):
    record = computed(lab, "head", "output", "layers.3.wv")
    lines = text_map(record, 20).splitlines()
    assert "Verdict: computed, not measured" in lines[0]
    assert len(lines) == 3 + len(lab.tensors)
    assert "output          [############] 12 of 12" in lines
    # its neighbor shares the first page of the output
    assert any(line.startswith("layers.8.wo") and "1 of 3" in line for line in lines)
    assert any(line.startswith("layers.7.wo") and "0 of 2" in line for line in lines)


def test_a_text_map_of_many_tensors_has_a_line_per_layer(lab, monkeypatch):
    monkeypatch.setattr("llama_edu.show.text.page_map._MOST_TENSORS", 10)
    lines = text_map(computed(lab, "head", "output"), 20).splitlines()
    assert len(lines) == 3 + 2 + 9


def test_a_record_without_pages_cannot_be_drawn(lab):
    with lab.record("silence") as record:
        pass
    with pytest.raises(MeasurementError, match="no pages to draw"):
        text_map(record)
