"""The lab's promises: one record at a time, the right file, every count with its verdict."""

import itertools
import os
import platform
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import ground_truth as gt
from helpers.small_lab import N_BYTES, TENSORS, decode

from llama_edu.errors import FormatError, MeasurementError, RequestError
from llama_edu.files.layout import ShardedTensor, TensorSpec
from llama_edu.pages.backends import BACKENDS
from llama_edu.pages.lab import PageLab

PAGE = gt.PAGE


@pytest.fixture
def path(tmp_path):
    return gt.write_file(tmp_path / "model <b>.bin", N_BYTES)


@pytest.fixture(params=["uffd", "one-page", "private-copy", "mincore"])
def lab(path, request):
    try:
        opened = PageLab(path, TENSORS, request.param)
    except MeasurementError as refused:
        pytest.skip(str(refused))
    with opened:
        yield opened


def assert_pages(record, expected):
    """The pages are these; accessed bits may add what this processor prefetched."""
    assert not (expected & ~record.pages).any()
    if record.backend != "private-copy":
        assert np.array_equal(record.pages, expected)


def test_predicted_and_measured_pages_are_the_same_set(lab):
    for token in (0, 7, 19, 7):
        with lab.record(f"token {token}") as record:
            decode(lab, token)
        assert_pages(record, record.predicted)
        n_needed = sum(
            row.n_touched for row in record.touched.by_kind() if row.name == "layers.*.wq"
        )
        assert n_needed == record.touched.by_kind()[1].n_pages
        rows = {row.name: row for row in record.touched.by_tensor()}
        if record.backend != "private-copy":
            assert rows["token_embedding"].n_touched in (1, 2)
            assert rows["layers.0.w_up"].touched_bytes < 7700


def test_a_record_sees_only_its_own_touches(lab):
    view = lab.view("output")
    with lab.record("first") as first:
        view[0].copy()
    view[5].copy()
    with lab.record("second") as second:
        view[19].copy()
    with lab.record("third") as third:
        pass
    assert_pages(first, gt.truth([(80000, 2000)], N_BYTES))
    assert_pages(second, gt.truth([(80000 + 19 * 2000, 2000)], N_BYTES))
    assert not third.pages.any()
    assert third.predicted is None


def test_two_labs_on_one_file_see_only_their_own(path):
    with PageLab(path, TENSORS, "faults"), PageLab(path, TENSORS) as a, PageLab(path, TENSORS) as b:
        if "mincore" in (a.backend.name, b.backend.name) or a.backend.name == "faults":
            pytest.skip("no instrument here that two observers can use at once")
        with a.record("a") as first, b.record("b") as second:
            a.view("output")[0].copy()
            b.view("token_embedding")[3].copy()
    assert_pages(first, gt.truth([(80000, 2000)], N_BYTES))
    assert_pages(second, gt.truth([(128 + 6000, 2000)], N_BYTES))


def test_pages_shared_by_two_tensors_count_for_both_and_once_in_total(lab):
    with lab.record("all") as record:
        for name in TENSORS:
            lab.view(name).copy()
    rows = record.touched.by_tensor()
    assert all(row.fraction == 1.0 for row in rows[:-1])
    assert [row.touched_bytes for row in rows[:-1]] == [40000, 12000, 7700, 12000, 40000]
    assert sum(row.n_touched for row in rows) > record.n_touched
    ranges = [(spec.offset, spec.n_bytes) for spec in TENSORS.values()]
    assert record.n_touched == gt.truth(ranges, N_BYTES).sum()
    assert [row.name for row in record.touched.by_layer()] == [
        "token_embedding", "layer 0", "layer 1", "output",
    ]  # fmt: skip


def test_views_are_read_only_and_own_nothing(lab):
    view = lab.view(TENSORS["layers.0.w_up"])
    assert not view.flags.writeable
    assert not view.flags.owndata
    with lab.path.open("rb") as file:
        file.seek(52128)
        assert view.tobytes() == file.read(7700)
    with pytest.raises(BufferError, match=r"layers\.0\.w_up"):
        lab.close()
    del view


def test_no_count_is_printed_without_its_verdict(lab):
    with lab.record("<i>one</i> row") as record:
        lab.view("output")[0].copy()
    kind = record.verdict.kind
    assert f"Verdict: {kind}" in str(record)
    assert kind in repr(record)
    assert str(record).count("Verdict: ") == 2 and "Verdict: counts only, " in record.naive_line
    page = record._repr_html_()
    assert f"Verdict: {kind}" in page
    assert "<i>" not in page
    assert "&lt;i&gt;one" in page


def test_a_record_prints_the_same_text_for_the_same_run(path):
    texts = set()
    for _ in range(2):
        with PageLab(path, TENSORS, "faults") as lab:
            with lab.record("decode") as record:
                decode(lab, 7)
            texts.add(re.sub(r"faults: .*", "", str(record)) + repr(record))
    assert len(texts) == 1
    assert "0x" not in texts.pop()


def test_elapsed_time_comes_from_the_clock_that_was_given(path):
    ticks = itertools.count(10.0, 2.5)
    lab = PageLab(path, TENSORS, "faults", clock=lambda: next(ticks))
    with lab, lab.record() as record:
        pass
    assert record.elapsed_s == 2.5


def test_a_record_cannot_be_read_before_its_end_nor_opened_twice(lab):
    with lab.record("outer") as record:
        assert str(record) == "Record('outer', not ended)"
        with pytest.raises(MeasurementError, match="'outer': has not ended, expected to be read"):
            _ = record.pages
        with (
            pytest.raises(MeasurementError, match="'outer' has not ended, expected one record"),
            lab.record("inner"),
        ):
            pass
    assert not record.pages.any()


def test_a_block_that_raises_still_ends_its_record(lab):
    with pytest.raises(ZeroDivisionError), lab.record("broken") as record:
        lab.view("output")[0].copy()
        raise ZeroDivisionError
    assert_pages(record, gt.truth([(80000, 2000)], N_BYTES))
    with lab.record("next"):
        pass


def test_where_nothing_can_be_measured_the_computed_set_is_given(path, monkeypatch):
    def refuse(self, path):
        raise MeasurementError("not on this machine")

    for kind in BACKENDS[:-1]:
        monkeypatch.setattr(kind, "__init__", refuse)
    with PageLab(path, TENSORS) as lab:
        assert lab.backend.name == "faults"
        assert lab.refused == {kind.name: "not on this machine" for kind in BACKENDS[:-1]}
        assert "refused   uffd: not on this machine" in lab.describe()
        with lab.record("nobody wrote") as empty:
            lab.view("output")[0].copy()
        with lab.record("decode") as record:
            decode(lab, 3)
    assert empty.verdict.kind == "counts only"
    assert empty.pages is None
    assert "no page count" in str(empty)
    with pytest.raises(MeasurementError, match="counts only, no pages"):
        _ = empty.touched
    assert record.verdict.kind == "computed, not measured"
    assert "pages needed" in str(record)
    assert_pages(record, record.predicted)
    assert (
        record.n_touched
        == gt.truth(
            [(128 + 6000, 2000), (40128, 12000), (59828, 12000), (80000, 40000)], N_BYTES
        ).sum()
    )


def test_the_naive_figure_can_come_from_a_plain_mapping(path):
    with PageLab(path, TENSORS, "faults") as plain, plain.record() as unaided:
        plain.view("output").copy()
    with PageLab(path, TENSORS) as lab, lab.record() as record:
        lab.view("output").copy()
    if unaided.faults is None:
        pytest.skip("this system counts no faults")
    record.plain_faults = unaided.faults
    assert record.naive_bytes == unaided.faults.total * PAGE
    assert "these are of a plain mapping" in record.naive_line


def test_faults_that_an_instrument_makes_are_no_amount_of_memory(path):
    with PageLab(path, TENSORS) as lab, lab.record() as record:
        lab.view("output").copy()
    if record.faults is None or lab.backend.name == "faults":
        pytest.skip("no instrument, or no faults are counted")
    assert record.naive_bytes is None
    assert "the instrument's own" in record.naive_line and "of the file" not in record.naive_line
    assert str(record).count("%") == str(record.touched).count("%") + 1  # that of the headline
    with PageLab(path, TENSORS, "faults") as plain, plain.record() as unaided:
        plain.view("output").copy()
    assert unaided.naive_bytes == unaided.faults.total * PAGE
    assert "% of the file" in unaided.naive_line


def test_an_instrument_that_fails_its_calibration_is_refused(path, monkeypatch):
    from llama_edu.pages.backends.uffd import WriteProtectAsync

    read = WriteProtectAsync.read

    def one_page_too_many(self):
        reading = read(self)
        reading.pages[min(5, self.n_pages - 1)] = True
        return reading

    monkeypatch.setattr(WriteProtectAsync, "read", one_page_too_many)
    with PageLab(path, TENSORS) as lab:
        assert lab.backend.name != "uffd"
        assert "refused" in lab.describe()
        if "calibration" not in lab.refused["uffd"]:
            pytest.skip(lab.refused["uffd"])
        assert "touched nothing, reported 1 pages (0 missing, 1 too many)" in lab.refused["uffd"]
    with pytest.raises(MeasurementError, match=r"backend uffd: refused: .*calibration failed"):
        PageLab(path, TENSORS, "uffd")


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux lets one measure")
def test_a_file_too_large_for_one_page_areas_is_refused_in_words(path, monkeypatch):
    monkeypatch.setattr("llama_edu.pages.linux.most_memory_areas", lambda: 2100)
    with pytest.raises(
        MeasurementError, match=r"the file has 31 pages, expected at most .*max_map"
    ):
        PageLab(path, TENSORS, "one-page")


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux lets one measure")
def test_a_copy_that_does_not_fit_is_refused_in_words(path, monkeypatch):
    monkeypatch.setattr("llama_edu.pages.linux.available_memory", lambda: 100_000)
    with pytest.raises(MeasurementError, match="123,456 bytes, expected at most 80,000"):
        PageLab(path, TENSORS, "private-copy")


def test_a_split_checkpoint_is_refused_in_words(path):
    part = TENSORS["layers.0.wq"]
    split = ShardedTensor("layers.0.wq", "f32", (200, 30), 0, (part, part))
    with pytest.raises(MeasurementError, match=r"layers\.0\.wq is in several files.*convert"):
        PageLab(path, {"layers.0.wq": split})


def test_unknown_names_are_refused_in_words(path):
    with pytest.raises(RequestError, match=r"backend 'magic': unknown, expected auto or one of"):
        PageLab(path, TENSORS, "magic")
    lab = PageLab(path, TENSORS, "faults")
    with lab, pytest.raises(RequestError, match="rope: no such tensor"):
        lab.view("rope")


def test_a_tensor_beyond_the_file_is_refused_and_nothing_stays_open(path):
    beyond = TensorSpec("output", "f32", (100, 500), 80000, 200000)
    with pytest.raises(FormatError, match="output is at bytes 80,000 to 280,000"):
        PageLab(path, {"output": beyond}, "faults")


def test_a_file_that_was_replaced_is_not_measured(lab, tmp_path):
    gt.write_file(tmp_path / "new", N_BYTES).replace(lab.path)
    with pytest.raises(FormatError, match="was replaced after it was opened"), lab.record():
        pass


def test_a_file_rewritten_during_the_record_is_reported(lab):
    with pytest.raises(FormatError, match="was changed after it was opened"), lab.record():
        with lab.path.open("r+b") as file:
            file.write(b"new")
        os.utime(lab.path, ns=(1, 1))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_told_to_open_its_own_lab(lab):
    if lab.backend.name == "mincore":
        pytest.skip("mincore asks the file, not the process")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with lab.record():
                pass
        except MeasurementError as error:
            code = 0 if "opened in another process" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


TRUNCATE = """
import sys
from llama_edu.errors import LlamaEduError
from llama_edu.pages.lab import PageLab
from helpers.small_lab import TENSORS
path, careful = sys.argv[1], sys.argv[2] == "careful"
lab = PageLab(path, TENSORS, "faults")
view = lab.view("output")
open(path, "r+b").truncate(4096)
if careful:
    try:
        with lab.record():
            view.sum()
    except LlamaEduError as error:
        print(error)
else:
    view.sum()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="no SIGBUS here")
@pytest.mark.parametrize("care", ["careful", "careless"])
def test_a_truncated_file_kills_the_careless_and_is_named_to_the_careful(path, care):
    done = subprocess.run(
        [sys.executable, "-c", TRUNCATE, str(path), care],
        capture_output=True, text=True, timeout=60,
        env={"PYTHONPATH": os.pathsep.join([str(gt.PACKAGE), str(Path(gt.__file__).parents[1])])},
    )  # fmt: skip
    if care == "careless":
        assert done.returncode == -signal.SIGBUS
    else:
        assert done.returncode == 0, done.stderr
        assert "was changed after it was opened: 123,456 bytes then, 4,096 now" in done.stdout
