"""The doctor's table, the text map and the drawn map."""

import platform

import numpy as np
import pytest
from helpers import ground_truth as gt

from llama_edu.errors import MeasurementError
from llama_edu.files.layout import TensorSpec
from llama_edu.pages.doctor import examine
from llama_edu.pages.lab import PageLab
from llama_edu.show.text.page_map import shade, text_map


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux lets one measure")
def test_the_doctor_trusts_no_counter_that_is_wrong(tmp_path):
    report = examine(tmp_path, n_pages=1031)
    touched = [n for _, n in report.touched]
    assert touched == [51, 1031, 52]
    findings = {f.counter: f for f in report.findings}
    for finding in report.findings:
        assert (list(finding.reported) == touched) == (finding.verdict == "trusted")
        assert (finding.verdict == "refused") == (not finding.reported)
        assert finding.why
    assert findings["minor faults (getrusage)"].verdict == "under-counts"
    assert findings["mincore"].verdict in ("over-counts", "refused")
    for backend in ("uffd", "one-page"):
        assert findings[f"lab: {backend}"].verdict in ("trusted", "refused")
    assert "trusted: right every time" in str(report)
    assert not list(tmp_path.iterdir())


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


@pytest.fixture
def lab(tmp_path):
    tensors = {}
    offset = 300
    shapes = {"token_embedding": (50, 200)}
    shapes |= {f"layers.{i}.w{k}": (30, 40) for i in range(9) for k in "qkvo"}
    shapes["output"] = (60, 200)
    for name, shape in shapes.items():
        n_bytes = 4 * shape[0] * shape[1]
        tensors[name] = TensorSpec(name, "f32", shape, offset, n_bytes)
        offset += n_bytes
    path = gt.write_file(tmp_path / "model.bin", offset)
    with PageLab(path, tensors, "faults") as opened:
        yield opened


def computed(lab, label, *names):
    with lab.record(label) as record:
        for name in names:
            lab.ledger.whole(name)
    return record


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


def words_of(figure):
    """The sentences below a map, with line ends as spaces."""
    return " ".join(text.get_text() for text in figure.texts).replace("\n", " ")


def test_a_drawn_map_says_who_was_first_and_how_far_to_trust_it(lab):
    pytest.importorskip("matplotlib")
    from llama_edu.show.figures.page_map import records_figure

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
    pytest.importorskip("matplotlib")
    from llama_edu.show.figures.grid import PageGrid
    from llama_edu.show.figures.page_map import records_figure

    record = computed(lab, "head", "output")
    shown = records_figure(record).figure.axes[0].images[0].get_array()
    grid = PageGrid(record)
    values = np.where(record.pages, 0, -1).astype(np.int32)
    assert np.array_equal(shown, grid.colors(values, 1))


def test_a_map_of_nothing_or_of_two_files_is_refused(lab, tmp_path):
    pytest.importorskip("matplotlib")
    from llama_edu.show.figures.page_map import records_figure

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
    pytest.importorskip("matplotlib")
    from llama_edu.show.figures.page_map import records_figure

    record = computed(lab, "costs $5 and $6", "output")
    assert records_figure(record, title="One step").figure.axes[0].get_title("left") == "One step"
    drawn = records_figure(record)
    assert drawn.figure.axes[0].get_title("left") == r"model.bin: costs \$5 and \$6"
    assert repr(drawn) == text_map(record)
