"""The page map as a figure: the first record of each page, the verdict, and the panel's cells."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import ground_truth as gt
from helpers.layered_lab import computed

from llama_edu.errors import MeasurementError
from llama_edu.files.layout import TensorSpec
from llama_edu.pages.lab import PageLab
from llama_edu.show.text.page_map import text_map

pytest.importorskip("matplotlib")
from llama_edu.show.figures.grid import PageGrid
from llama_edu.show.figures.page_map import records_figure


def words_of(figure):
    """The sentences below a map, with line ends as spaces."""
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_a_drawn_map_says_who_was_first_and_how_far_to_trust_it(lab):
    first = computed(lab, "prefill", "output")
    second = computed(lab, "token 1", "output", "layers.0.wq")
    drawn = records_figure([first, second])
    union = int((first.pages | second.pages).sum())
    assert f"{union} of {first.n_pages} pages needed" in words_of(drawn.figure)
    assert "Verdict: computed, not measured" in words_of(drawn.figure)
    assert "2 records together: " in words_of(drawn.figure)
    (axes,) = drawn.figure.axes
    legend = [text.get_text() for text in drawn.figure.legends[0].get_texts()]
    n_new = union - first.n_touched
    assert legend == [f"prefill: {first.n_touched} new", f"token 1: {n_new} new", "never"]
    assert "layer 8" in [label.get_text() for label in axes.get_yticklabels()]
    assert drawn.png().startswith(b"\x89PNG")


def test_a_drawn_map_has_the_cells_and_colors_of_the_panel(lab):
    record = computed(lab, "head", "output")
    shown = records_figure(record).figure.axes[0].images[0].get_array()
    grid = PageGrid(record)
    values = np.where(record.pages, 0, -1).astype(np.int32)
    assert np.array_equal(shown, grid.colors(values, 1))


def test_a_map_of_nothing_or_of_two_files_is_refused(lab, tmp_path):
    record = computed(lab, "prefill", "output")
    with pytest.raises(MeasurementError, match="no records"):
        records_figure([])
    spec = TensorSpec("other", "f32", (10, 10), 0, 400)
    other = PageLab(gt.write_file(tmp_path / "other.bin", 50_000), {"other": spec}, "faults")
    with other, other.record("other") as foreign:
        other.ledger.whole("other")
    with pytest.raises(MeasurementError, match=r"records of model\.bin and other\.bin"):
        records_figure([record, foreign])
    with lab.record("silence") as silence:
        pass
    with pytest.raises(MeasurementError, match="there are no pages to show"):
        records_figure([silence])


def test_one_record_is_drawn_with_its_own_title_and_told_by_the_text_map(lab):
    record = computed(lab, "costs $5 and $6", "output")
    assert records_figure(record, title="One step").figure.axes[0].get_title("left") == "One step"
    drawn = records_figure(record)
    assert drawn.figure.axes[0].get_title("left") == r"model.bin: costs \$5 and \$6"
    assert repr(drawn) == text_map(record)
