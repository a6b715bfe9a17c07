"""Memory pressure: a page that was taken back must not make a count look exact."""

from contextlib import ExitStack, contextmanager

import pytest
from helpers import ground_truth as gt

from llama_edu.errors import MeasurementError
from llama_edu.experiments.control_group import control_group
from llama_edu.pages import linux, reclaim

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
    """Counters and eviction marks as a test sets them."""

    def __init__(self, monkeypatch):
        self.counters = {"pgsteal_file": 10, "workingset_nodereclaim": 3}
        self.marks: int | None = 0
        monkeypatch.setattr(linux, "vm_counters", lambda: dict(self.counters))
        monkeypatch.setattr(reclaim.FileReclaim, "_eviction_marks", lambda _: self.marks)


@pytest.mark.parametrize(
    ("before", "after", "stolen", "forgotten", "expected"),
    [
        (0, 0, 0, 0, ""),
        (500, 500, 0, 0, ""),  # old marks do not matter while nothing is reclaimed
        (0, 0, 7, 0, ""),  # somebody else's pages were reclaimed
        (0, 9, 7, 0, "9 pages of the file were reclaimed during the run"),
        (500, 480, 7, 0, "500 pages of the file were marked as evicted before it"),
        (500, 0, 7, 0, "eviction marks were thrown away"),
        (0, 0, 7, 2, "eviction marks were thrown away"),
        (None, None, 7, 0, "7 file pages were reclaimed on this machine"),
        (None, None, None, 0, "nothing on this system tells"),
    ],
)
def test_what_is_concluded_from_the_witnesses_of_reclaim(
    monkeypatch, tmp_path, before, after, stolen, forgotten, expected
):
    fake = FakeKernel(monkeypatch)
    if stolen is None:
        del fake.counters["pgsteal_file"]
    fake.marks = before
    watch = reclaim.FileReclaim(tmp_path, 4096)
    watch.start()
    fake.marks = after
    if stolen is not None:
        fake.counters["pgsteal_file"] += stolen
    fake.counters["workingset_nodereclaim"] += forgotten
    doubts = " ".join(watch.doubts())
    assert expected in doubts
    assert bool(doubts) == bool(expected)


def test_accessed_bits_are_doubted_as_soon_as_reclaim_looked_at_memory(monkeypatch):
    counters = {"pgscan_anon": 0, "pgscan_file": 5}
    monkeypatch.setattr(linux, "vm_counters", lambda: dict(counters))
    watch = reclaim.AnonymousReclaim()
    watch.start()
    assert watch.doubts() == ()
    counters["pgscan_file"] += 32
    assert watch.doubts() == (
        "the kernel scanned 32 pages for reclaim during the run, which clears accessed bits",
    )
    counters.clear()
    assert "nothing on this system tells" in watch.doubts()[0]
