"""Random pages: what faults, memory and the disk say of a number of pages that is known."""

import itertools
import json
import mmap
import os
import platform

import pytest

from llama_edu.errors import MeasurementError
from llama_edu.experiments import random_reads as module
from llama_edu.experiments.observe.changing_file import look_at
from llama_edu.experiments.random_reads import random_reads

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="measures Linux")

N_PAGES = 3000
PAGE = mmap.PAGESIZE


@pytest.fixture
def measured(tmp_path):
    return random_reads(
        n_bytes=N_PAGES * PAGE + 7, folder=tmp_path, fraction=0.25, n_threads=(1, 3), n_laps=2
    )


def test_each_way_reads_the_same_known_pages(measured, tmp_path):
    assert measured.n_pages == 750 and measured.file_bytes == N_PAGES * PAGE + 7
    keys = [(s.way, s.state, s.n_threads) for s in measured.scans]
    assert len(set(keys)) == len(keys) == (6 if measured.why_not_cold else 12)
    assert not list(tmp_path.iterdir())


def test_pread_has_a_pool_of_its_own_and_no_fault_tells_of_a_page(measured):
    for scan in measured.scans:
        if scan.minor_faults is None or scan.own_bytes is None:
            pytest.skip("this system does not count faults or memory")
        if scan.way == "pread":
            assert scan.faults_verdict == "none"
            assert scan.minor_faults + scan.major_faults <= 100
            assert 750 * PAGE <= scan.own_bytes < 2 * 750 * PAGE
        else:
            assert scan.own_bytes < 750 * PAGE / 2
            assert scan.minor_faults + scan.major_faults > 0


def test_without_read_ahead_a_cold_mapping_faults_once_for_each_page(measured):
    if measured.why_not_cold:
        pytest.skip(measured.why_not_cold)
    cold = {(s.way, s.n_threads): s for s in measured.scans if s.state == "cold"}
    for threads in (1, 3):
        scan = cold["mmap, MADV_RANDOM", threads]
        assert scan.faults_verdict == "one per page" and scan.major_faults >= 750 * 0.9
        for way in ("mmap, MADV_RANDOM", "pread"):
            assert 750 * PAGE <= cold[way, threads].cached_bytes < N_PAGES * PAGE
        if scan.disk_bytes:  # some file systems do not report what they read
            assert 750 * PAGE <= scan.disk_bytes < N_PAGES * PAGE / 2
    plain = cold["mmap", 1]
    assert plain.cached_bytes > cold["pread", 1].cached_bytes  # read-ahead
    assert plain.faults_verdict == "fewer than pages"


def test_the_best_lap_is_shown_with_its_verdict(tmp_path):
    ticks = itertools.accumulate(itertools.cycle([1, 4, 1, 2]))  # laps of 4 s and of 2 s
    result = random_reads(
        n_bytes=64 * PAGE, folder=tmp_path, n_threads=(1,), n_laps=2, clock=lambda: next(ticks)
    )
    assert {scan.elapsed_s for scan in result.scans} == {2}
    text = str(result)
    assert "2,000.0" in text and "fewer than pages" in text and "chosen here" in text


def test_a_cache_that_cannot_be_emptied_is_said(tmp_path):
    file = tmp_path / "held.bin"
    file.write_bytes(os.urandom(80 * PAGE))
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ) as held:
        assert sum(held[::PAGE]) >= 0
        result = random_reads(file, n_threads=(2,), n_laps=1, folder=tmp_path)
    assert {scan.state for scan in result.scans} == {"warm"}
    assert "pages of held.bin stayed cached after POSIX_FADV_DONTNEED" in result.why_not_cold
    assert f"Not measured cold: {result.why_not_cold}." in str(result)


@pytest.mark.parametrize(
    ("n_faults", "way", "verdict"),
    [
        (None, "mmap", "not counted"), (0, "pread", "none"), (101, "pread", "fewer than pages"),
        (20, "mmap", "fewer than pages"), (999, "mmap", "fewer than pages"),
        (1000, "mmap", "one per page"), (1100, "pread", "one per page"),
        (1101, "mmap", "more than pages"),
    ],
)  # fmt: skip
def test_faults_are_judged_by_the_pages_that_were_read(n_faults, way, verdict):
    assert module._verdict(way, n_faults, 1000) == verdict


def test_a_file_that_changes_kills_one_reader_and_not_the_other(tmp_path):
    half, page = f"{PAGE // 2:,}", f"{PAGE:,}"
    cut = look_at("mmap", "cut off before the page", tmp_path)
    assert (cut.killed_by, cut.outcome) == ("SIGBUS", "killed by SIGBUS")
    cut = look_at("pread", "cut off before the page", tmp_path)
    assert cut.killed_by == ""
    assert cut.outcome == f"0 bytes at the next pread; {page} of {page} bytes as they were"
    torn = look_at("mmap", "half of the page written over", tmp_path)
    assert torn.outcome == f"{half} of {page} bytes as they were"
    torn = look_at("pread", "half of the page written over", tmp_path)
    assert torn.outcome == f"{page} of {page} bytes as they were"
    assert not list(tmp_path.iterdir())


def test_other_bytes_in_one_way_than_in_another_are_an_error(tmp_path, monkeypatch):
    numbers = itertools.count()
    monkeypatch.setattr(module, "_sum", lambda words, place: next(numbers))
    with pytest.raises(MeasurementError, match=r"summed to \d+ numbers, expected one"):
        random_reads(n_bytes=40 * PAGE, folder=tmp_path, n_threads=(1,), n_laps=1)


def test_a_file_that_shrinks_meanwhile_is_an_error_and_no_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "preadv", lambda fd, frames, offset: 17)
    with pytest.raises(MeasurementError, match="became shorter meanwhile"):
        random_reads(n_bytes=40 * PAGE, folder=tmp_path, n_threads=(2,), n_laps=1)


@pytest.mark.parametrize("wrong", [{"fraction": 0}, {"n_threads": (0,)}, {"n_laps": 0}])
def test_nothing_to_read_is_refused(wrong):
    with pytest.raises(MeasurementError, match="expected above 0 and at most 1"):
        random_reads(**wrong)


def test_a_file_of_less_than_a_page_is_refused(tmp_path):
    (tmp_path / "tiny.bin").write_bytes(b"tiny")
    with pytest.raises(MeasurementError, match=r"tiny\.bin has less than one page"):
        random_reads(tmp_path / "tiny.bin")


def test_the_command_prints_numbers(tmp_path, run_cli):
    file = tmp_path / "small.bin"
    file.write_bytes(os.urandom(200 * PAGE))
    code, out, _ = run_cli("experiment", "random-reads", "--file", file, "--json")
    result = json.loads(out)
    assert code == 0 and result["n_pages"] == 20 and len(result["sights"]) == 4
    assert {scan["way"] for scan in result["scans"]} == {"mmap", "mmap, MADV_RANDOM", "pread"}
