"""Every instrument on accesses whose pages are known, in every state that a file can be in."""

import mmap
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import ground_truth as gt

from llama_edu.errors import MeasurementError
from llama_edu.pages.lab import PageLab

EXACT = ("uffd", "one-page")

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="only Linux lets one measure")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return gt.write_file(tmp_path_factory.mktemp("weights") / "weights.bin")


def lab_or_skip(path, backend):
    try:
        return PageLab(path, {}, backend)
    except MeasurementError as refused:
        pytest.skip(str(refused))


def assert_kept(results, backend):
    """No verdict broken; the instruments that rely on faults right to the page."""
    broken = {name: r for name, r in results.items() if not r["kept"]}
    assert not broken
    results = {name: r for name, r in results.items() if not gt.pressed(r["reasons"])}
    if not results:
        pytest.skip("memory was reclaimed on this machine all the time: no exact count possible")
    if backend in EXACT:
        assert {r["kind"] for r in results.values()} == {"exact"}
    if backend == "private-copy":
        assert {r["kind"] for r in results.values()} == {"upper bound"}
    if backend == "mincore":  # its verdict may be careful; its bitmap is right all the same
        assert {r["kind"] for r in results.values()} <= {"exact", "upper bound"}
        assert all(r["missing"] == r["extra"] == 0 for r in results.values())


def states_and_backends():
    """All pairs; where the state of the cache cannot matter, as for a copy, the rest is slow."""
    for backend in gt.BACKENDS:
        for state in ("warm", "cold", "half cached", "dirty"):
            slow = backend == "private-copy" and state != "warm"
            yield pytest.param(backend, state, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(("backend", "state"), list(states_and_backends()))
def test_every_pattern_is_seen_as_it_is(tmp_path, backend, state):
    path = gt.write_file(tmp_path / "weights.bin", sync=state != "dirty")
    if state in ("cold", "half cached"):
        gt.evict(path)
    if state == "half cached":
        with path.open("rb") as file:
            file.read(gt.N_BYTES // 2)
    with lab_or_skip(path, backend) as lab:
        assert_kept(gt.run_patterns(lab), backend)


@pytest.mark.parametrize("backend", gt.BACKENDS)
def test_a_file_in_memory_is_measured_or_refused(backend):
    shared_memory = Path("/dev/shm")
    if not os.access(shared_memory, os.W_OK):
        pytest.skip("no writable /dev/shm here")
    path = shared_memory / f"llama_edu_test_{os.getpid()}.bin"
    try:
        gt.write_file(path)
        if backend == "mincore":
            with pytest.raises(MeasurementError, match="stay in the page cache"):
                PageLab(path, {}, backend)
            return
        with lab_or_skip(path, backend) as lab:
            assert_kept(gt.run_patterns(lab), backend)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def another_process(path, body):
    """A second process with the file open as `file` and mapped as `m`, until the block ends."""
    code = (
        f"import mmap, sys\nfile = open({str(path)!r}, 'rb')\n"
        f"m = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
        f"{body}\nprint('ready', flush=True)\nsys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout.readline() == b"ready\n"
        yield
    finally:
        other.communicate()


@pytest.mark.parametrize("backend", gt.BACKENDS)
def test_a_file_mapped_by_another_process_is_measured_or_refused(file, backend):
    with another_process(file, f"sum(m[::{mmap.PAGESIZE}])"):
        if backend == "mincore":
            with pytest.raises(MeasurementError, match="mapped by another process"):
                PageLab(file, {}, backend)
            return
        with lab_or_skip(file, backend) as lab:
            assert_kept(gt.run_patterns(lab), backend)


@pytest.mark.parametrize("backend", gt.BACKENDS)
def test_another_process_that_reads_the_file_meanwhile_is_not_counted_as_exact(file, backend):
    with lab_or_skip(file, backend) as lab:
        data = np.frombuffer(lab.backend.mapped.mmap, np.uint8)[: gt.N_BYTES]
        with lab.record("with a stranger") as record:
            ranges = gt.touch(data, gt.some(data, 0.05))
            with another_process(file, "while file.read(1 << 20): pass"):
                pass
        result = gt.judge(record, gt.truth(ranges, len(data)))
        assert result["kept"]
        if gt.pressed(result["reasons"]):
            pytest.skip(result["reasons"][0])
        assert result["missing"] == 0
        if backend in EXACT:
            assert result["kind"] == "exact"
        del data


@pytest.mark.parametrize(
    ("backend", "owner"),
    [
        *((backend, "of nothing") for backend in gt.BACKENDS),
        ("mincore", "of the file"),
        *(pytest.param(b, "of the file", marks=pytest.mark.slow) for b in gt.BACKENDS[:3]),
    ],
)
def test_every_pattern_is_seen_by_an_unprivileged_user(backend, owner):
    if os.geteuid() != 0:
        pytest.skip("not root: every other test here runs unprivileged already")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = gt.write_file(Path(folder) / "weights.bin")
        path.chmod(0o644)
        if owner == "of the file":
            os.chown(path, 65534, 65534)
        result = gt.in_a_process(path, backend, "nobody")
    if backend == "mincore" and owner == "of nothing":
        assert "neither owns" in result["refused"]["mincore"]
    else:
        assert result["backend"] == backend, result["refused"]
        assert_kept(result["results"], backend)


def test_where_userfaultfd_is_forbidden_the_next_instrument_is_used(file):
    if platform.machine() != "x86_64":
        pytest.skip("the filter of this test is written for x86-64")
    result = gt.in_a_process(file, "auto", "deny")
    assert "EPERM, forbidden to this user, or by the container" in result["refused"]["uffd"]
    assert result["backend"] == "one-page"
    assert_kept(result["results"], "one-page")


def test_the_fault_counter_is_wrong_on_a_dense_read(file):
    """The lesson of the project: if this ever fails, fault counts have become page counts."""
    with file.open("rb") as cached:
        cached.read()
    with PageLab(file, {}, "faults") as lab:
        data = np.frombuffer(lab.backend.mapped.mmap, np.uint8)
        with lab.record("every page") as record:
            gt.every(data)
        del data
    assert record.verdict.kind == "counts only"
    assert record.pages is None
    assert record.faults.total * 4 < record.n_pages


@pytest.mark.slow
@pytest.mark.parametrize("backend", gt.BACKENDS)
def test_two_hundred_random_patterns_break_no_verdict(file, backend, capsys):
    rng = np.random.default_rng(200)
    kinds: dict[str, int] = {}
    wrong = n_extra = 0
    with lab_or_skip(file, backend) as lab:
        data = np.frombuffer(lab.backend.mapped.mmap, np.uint8)[: gt.N_BYTES]
        for _ in range(200):
            with lab.record("random") as record:
                ranges = random_access(data, rng)
            result = gt.judge(record, gt.truth(ranges, len(data)))
            kinds[result["kind"]] = kinds.get(result["kind"], 0) + 1
            wrong += not result["kept"]
            n_extra += bool(result["extra"])
        del data
    with capsys.disabled():
        print(f"\n{backend}: 200 patterns, {kinds}, verdict broken {wrong}, too many {n_extra}")
    assert wrong == 0


def random_access(data, rng):
    """A few reads of random kinds at random places; the byte ranges."""
    rows = gt.rows_of(data)
    ranges = []
    for _ in range(rng.integers(0, 6)):
        first, second = sorted(rng.integers(0, len(rows) + 1, 2))
        kind = rng.integers(0, 5)
        if kind == 0:
            ranges += gt.touch(data, gt.some(data, rng.random() ** 3, seed=int(rng.integers(1e6))))
        elif kind == 1:
            np.take(rows, np.arange(first, second), axis=0)
            ranges.append((first * gt.ROW, (second - first) * gt.ROW))
        elif kind == 2:
            rows[first:second] @ np.ones(rows.shape[1], np.float32)
            ranges.append((first * gt.ROW, (second - first) * gt.ROW))
        elif kind == 3:
            rows[first:second].sum()
            ranges.append((first * gt.ROW, (second - first) * gt.ROW))
        else:
            start, length = int(rng.integers(0, len(data) - 9000)), int(rng.integers(1, 9000))
            data[start : start + length].copy()
            ranges.append((start, length))
    return [(int(a), int(n)) for a, n in ranges if n]
