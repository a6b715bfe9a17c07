"""Memory pressure: a page that was taken back must not make a count look exact."""

import mmap
import os
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager

import numpy as np
import pytest
from helpers import ground_truth as gt
from helpers import interference

from llama_edu.errors import MeasurementError
from llama_edu.experiments.observe.control_group import control_group
from llama_edu.files.layout import TensorSpec
from llama_edu.files.mapped import MappedFile
from llama_edu.pages import linux, reclaim
from llama_edu.pages.faults import FaultCounts
from llama_edu.pages.lab import PageLab

MIB = 2**20


@contextmanager
def limited_to(limit_bytes):
    """A control group's folder, or a skip that says why there can be none."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(control_group(limit_bytes))
        except MeasurementError as refused:
            pytest.skip(str(refused))
        yield folder


@pytest.mark.parametrize("backend", gt.BACKENDS)
def test_under_memory_pressure_nothing_is_called_exact_and_is_wrong(tmp_path, backend):
    path = gt.write_file(tmp_path / "weights.bin", 80 * MIB)
    gt.evict(path)  # cached pages are charged to whoever read them first
    with limited_to(64 * MIB) as group:
        result = gt.in_a_process(path, backend, f"group={group}")
    if result["backend"] is None:
        pytest.skip(result["refused"][backend])
    assert [name for name, r in result["results"].items() if not r["kept"]] == []
    dense = result["results"]["every page"]
    assert dense["kind"] in ("lower bound", "counts only")
    assert "reclaimed" in " ".join(dense["reasons"]) or "scanned" in " ".join(dense["reasons"])


@pytest.mark.parametrize("backend", ["uffd", "one-page"])
def test_with_memory_to_spare_a_limited_process_still_measures_exactly(tmp_path, backend):
    path = gt.write_file(tmp_path / "weights.bin", 32 * MIB)
    gt.evict(path)
    with limited_to(400 * MIB) as group:
        result = gt.in_a_process(path, backend, f"group={group}")
    if result["backend"] is None:
        pytest.skip(result["refused"][backend])
    results = result["results"].values()
    assert all(r["kept"] for r in results)
    assert {r["kind"] for r in results if not gt.pressed(r["reasons"])} <= {"exact"}


class FakeKernel:
    """Counters, eviction marks and the lock as a test sets them."""

    def __init__(self, monkeypatch):
        self.counters = {"workingset_nodereclaim": 3}
        self.marks = 0
        self.can_clear = True
        self.faults = 100
        self.refusal = "not locked in this test"
        monkeypatch.setattr(linux, "vm_counters", lambda: dict(self.counters))
        monkeypatch.setattr(reclaim, "process_faults", lambda: FaultCounts(self.faults, 0))
        monkeypatch.setattr(reclaim.FileReclaim, "_ask", self._ask)
        monkeypatch.setattr(reclaim.FileReclaim, "_drop", self._drop)
        monkeypatch.setattr(
            reclaim.Lock, "close", lambda lock: setattr(lock, "refusal", self.refusal)
        )

    def _ask(self, _offset, _n_bytes):
        if self.marks is None:
            raise MeasurementError("cachestat: forbidden")
        return linux.CacheStat(5, 0, 0, self.marks, 0)

    def _drop(self, _offset, _n_bytes):
        if self.can_clear:
            self.marks = 0


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """A fake kernel and a FileReclaim on a file of one page."""
    path = gt.write_file(tmp_path / "page.bin", 4096)
    fake = FakeKernel(monkeypatch)
    with MappedFile(path) as mapped:
        yield fake, reclaim.FileReclaim(path, mapped)


@pytest.mark.parametrize(
    ("before", "after", "pruned", "loss", "doubt"),
    [
        (0, 0, 0, "", ""),
        (500, 0, 0, "", ""),  # old marks are cleared at the start
        (0, 9, 0, "9 pages of the file were reclaimed during the run", ""),
        (0, 0, 2, "", "eviction marks were discarded"),
        (None, None, 0, "", "cannot be asked here (cachestat: forbidden)"),
    ],
)
def test_what_is_concluded_from_marks_of_eviction(watched, before, after, pruned, loss, doubt):
    fake, watch = watched
    fake.marks = before
    watch.start()
    fake.marks = after
    fake.counters["workingset_nodereclaim"] += pruned
    watch.stop()
    losses, doubts = " ".join(watch.losses()), " ".join(watch.doubts())
    assert loss in losses and bool(losses) == bool(loss)
    assert doubt in doubts and bool(doubts) == bool(doubt)


def test_marks_that_cannot_be_cleared_make_every_count_doubtful(watched):
    fake, watch = watched
    fake.marks, fake.can_clear = 500, False
    watch.start()
    watch.stop()
    assert watch.losses() == ()
    assert "500 pages of the file were marked as evicted before the run" in watch.doubts(7)[0]


@pytest.mark.parametrize(("n_faults", "n_mapped", "certain"), [(7, 7, True), (8, 7, False)])
@pytest.mark.parametrize("marks", [0, None])
def test_a_fault_that_left_no_page_makes_a_count_doubtful(
    watched, n_faults, n_mapped, certain, marks
):
    """A page may be unmapped and stay cached: then only the number of faults tells."""
    fake, watch = watched
    fake.marks = marks
    watch.start()
    fake.faults += n_faults
    watch.stop()
    doubts = watch.doubts(n_mapped)
    assert (doubts == ()) == certain
    if doubts:
        assert "1 page faults of the process left no page" in doubts[0]
        assert "not locked in this test" in doubts[0]


def test_locked_pages_leave_no_doubt(watched):
    fake, watch = watched
    fake.refusal, fake.marks = "", None
    watch.start()
    fake.faults += 1000
    fake.counters["workingset_nodereclaim"] += 9
    watch.stop()
    assert watch.losses() == watch.doubts(3) == ()


def test_a_file_that_may_not_fit_is_not_locked(tmp_path, monkeypatch):
    path = gt.write_file(tmp_path / "weights.bin", MIB)
    monkeypatch.setattr(linux, "available_memory", lambda: MIB)
    with MappedFile(path) as mapped:
        lock = reclaim.Lock(mapped, 256)
        lock.close()
        assert "1,048,576 bytes may not fit in memory" in lock.refusal


@pytest.mark.parametrize("locked", [True, False], ids=["locked", "not locked"])
@pytest.mark.parametrize("way", ["inside", "outside"])
@pytest.mark.parametrize("backend", gt.BACKENDS)
def test_pages_that_are_paged_out_while_a_record_runs_do_not_vanish_unseen(
    tmp_path, monkeypatch, backend, way, locked
):
    """500 pages touched, 0 reported, and the verdict was exact."""
    path = gt.write_file(tmp_path / "weights.bin")
    if not locked:
        monkeypatch.setattr(reclaim.Lock, "close", lambda lock: None)
    gt.check_paged_out(path, backend, way, seeds=range(4), always=True)


@pytest.mark.parametrize("backend", gt.BACKENDS)
def test_accessed_bits_that_another_process_clears_are_noticed(tmp_path, backend):
    path = gt.write_file(tmp_path / "weights.bin")
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(PageLab(path, {}, backend))
        except MeasurementError as refused:
            pytest.skip(str(refused))
        with lab.record() as record:
            data = np.frombuffer(lab.backend.mapped.mmap, np.uint8)
            ranges = gt.touch(data, [3, 5, 9])
            clear = f"open('/proc/{os.getpid()}/clear_refs', 'w').write('1')"
            subprocess.run([sys.executable, "-c", clear], check=True)
        del data
        judged = gt.judge(record, gt.truth(ranges, path.stat().st_size))
    assert judged["kept"], judged
    if backend == "private-copy":
        assert judged["kind"] == "counts only"
        assert "clear_refs" in " ".join(judged["reasons"])


@pytest.mark.parametrize("backend", gt.BACKENDS)
def test_pages_that_another_process_reads_are_not_called_ours(tmp_path, backend):
    """A debugger reads 900 pages of this process: 910 were reported, and called exact."""
    path = gt.write_file(tmp_path / "weights.bin")
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(PageLab(path, {}, backend))
        except MeasurementError as refused:
            pytest.skip(str(refused))
        outside = stack.enter_context(closing(interference.Outside()))
        with lab.record() as record:
            data = np.frombuffer(lab.backend.mapped.mmap, np.uint8)
            ranges = gt.touch(data, range(10))
            obeyed = outside.do("foreign reads", lab.backend.mapped.address + 20 * gt.PAGE, 900)
        del data
        if not obeyed:
            pytest.skip("another process may not read this one here (ptrace_scope)")
        judged = gt.judge(record, gt.truth(ranges, path.stat().st_size))
    assert judged["kept"] and judged["kind"] == "upper bound", judged


def test_without_a_lock_the_pages_a_forward_pass_needed_are_still_certain(tmp_path, monkeypatch):
    """Other memory faults as well; that no needed page is missing says that none was reclaimed."""
    monkeypatch.setattr(reclaim.Lock, "close", lambda lock: None)
    path = gt.write_file(tmp_path / "weights.bin")
    tensors = {"w": TensorSpec("w", "f32", (20, 1024), 0, 81920)}
    try:
        lab = PageLab(path, tensors, "uffd")
    except MeasurementError as refused:
        pytest.skip(str(refused))
    with lab:
        for told in (True, False):
            with lab.record() as record:
                np.add.reduce(lab.view("w"), axis=None)
                mmap.mmap(-1, 1 << 20)[::4096]  # 256 faults that have nothing to do with the file
                if told:
                    lab.ledger.whole("w")
            assert record.n_touched == 20
            assert record.verdict.kind == ("exact" if told else "lower bound")
