"""Each experiment shows what it claims, on small files; no test depends on timings."""

import itertools
import mmap
import platform

import numpy as np
import pytest

from llama_edu.errors import MeasurementError
from llama_edu.experiments import memory_cap as memory_cap_module
from llama_edu.experiments.illusion import illusion
from llama_edu.experiments.load_race import load_race
from llama_edu.experiments.memory_cap import memory_cap
from llama_edu.experiments.sharing import sharing
from llama_edu.experiments.sparse_parts import sparse_parts
from llama_edu.matmul.heap import keep_freed_memory

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="measures Linux")

MIB = 2**20


def test_the_arithmetic_of_2023_is_printed_and_repeated_here(tmp_path):
    result = illusion(n_bytes=8 * MIB, folder=tmp_path)
    text = str(result)
    assert "411,522 faults x 4,096 bytes = 1,685,594,112 bytes, 8.4% of a 20 GB file" in text
    assert "26,969,505,792 bytes, 135% of it" in text
    assert "at least 305,176 faults" in text
    readings = {(r.state, r.access): r for r in result.readings}
    dense = readings["warm", "every page"]
    assert dense.naive_fraction < 0.25
    if dense.true_fraction is not None:
        assert dense.true_fraction == 1.0
        sparse = readings["warm", "10 % of the rows"]
        assert 0.1 < sparse.true_fraction < 0.3
        assert sparse.rss_fraction > sparse.true_fraction
    small = readings.get(("warm, in single pages", "every page"))
    if small is not None and mmap.PAGESIZE == 4096:
        assert small.faults.total >= 8 * MIB / 65536
    assert not list(tmp_path.iterdir())


def test_without_an_instrument_the_true_column_stays_empty(tmp_path):
    result = illusion(n_bytes=MIB, folder=tmp_path, backend="faults")
    assert {r.true_fraction for r in result.readings} == {None}
    assert {r.verdict for r in result.readings} == {"counts only"}


def test_the_load_race_never_gives_the_opening_alone(tmp_path):
    clock = itertools.count(0.0, 0.25)
    result = load_race(n_bytes=4 * MIB, folder=tmp_path, clock=lambda: next(clock))
    laps = {(lap.way, lap.state): lap for lap in result.laps}
    assert {(lap.open_s, lap.first_s, lap.second_s) for lap in result.laps} == {(0.25, 0.25, 0.25)}
    assert laps["mmap", "warm"].cached_bytes == 4 * MIB
    for line in str(result).splitlines()[2:]:
        assert "250.0" in line
        assert "500.0" in line  # opening and first pass together
    assert {way for way, _ in laps} >= {"mmap", "read()", "readinto(np.empty)", "np.fromfile"}


@pytest.mark.parametrize("freed_before", [False, True])
def test_reading_takes_private_memory_and_mapping_does_not(tmp_path, freed_before):
    if freed_before:  # like the working memory of a model, which glibc keeps for the next array
        keep_freed_memory()
        arrays = [np.ones(MIB // 2, np.uint8) for _ in range(96)]
        del arrays
    laps = {(lap.way, lap.state): lap for lap in load_race(n_bytes=32 * MIB, folder=tmp_path).laps}
    if laps["mmap", "warm"].anonymous_bytes is None:
        pytest.skip("this system does not report private memory")
    assert laps["mmap", "warm"].anonymous_bytes < 4 * MIB
    assert laps["readinto(np.empty)", "warm"].anonymous_bytes >= 30 * MIB


def test_mapped_memory_is_shared_and_read_memory_is_not(tmp_path):
    result = sharing(n_bytes=16 * MIB, folder=tmp_path, n_processes=(1, 2))
    groups = {(g.how, g.n_processes): g for g in result.groups}
    assert groups["mmap", 2].rss_bytes >= 16 * MIB
    assert 8 * MIB <= groups["mmap", 2].pss_bytes < 9 * MIB
    assert groups["mmap", 2].private_bytes < MIB
    assert groups["read()", 2].pss_bytes >= 16 * MIB
    assert groups["read()", 2].private_bytes >= 16 * MIB
    assert "private MiB in all" in str(result)


def test_a_process_that_dies_while_sharing_is_reported(tmp_path):
    missing = tmp_path / "gone.bin"
    with pytest.raises(
        MeasurementError, match=r"a process that loaded gone\.bin ended with code 1"
    ):
        sharing(missing, n_processes=(1,))


def test_under_an_emulated_cap_nothing_is_reused_until_all_fits(tmp_path):
    try:
        result = memory_cap(
            n_bytes=16 * MIB, folder=tmp_path, caps=(0.5, 1.2), n_passes=2, emulate=True
        )
    except MeasurementError as refused:
        pytest.skip(str(refused))
    tokens = {(t.strategy, t.cap_fraction): t for t in result.tokens}
    assert {t.method for t in result.tokens} == {"emulated"}
    assert "Emulated with MADV_PAGEOUT: as requested." in str(result)
    plain, fits = tokens["plain mapping", 0.5], tokens["plain mapping", 1.2]
    if plain.read_bytes in (None, 0):
        pytest.skip("this system does not report what was read from the disk")
    assert fits.read_bytes == 0
    assert plain.read_bytes >= 14 * MIB
    assert tokens["keep a part", 0.5].read_bytes < plain.read_bytes
    assert tokens["MADV_RANDOM", 0.5].major_faults >= 8 * MIB / mmap.PAGESIZE


def test_a_control_group_that_is_refused_is_emulated_and_said_so(tmp_path, monkeypatch):
    def refuse(limit_bytes):
        raise MeasurementError("control groups: this user may not make one (Permission denied)")

    monkeypatch.setattr(memory_cap_module, "control_group", refuse)
    try:
        result = memory_cap(n_bytes=8 * MIB, folder=tmp_path, caps=(1.5,), n_passes=2)
    except MeasurementError as refused:
        pytest.skip(str(refused))
    assert {t.method for t in result.tokens} == {"emulated"}
    assert "this user may not make one (Permission denied)." in str(result)


def test_a_control_group_limits_what_a_child_may_keep(tmp_path):
    try:
        result = memory_cap(n_bytes=48 * MIB, folder=tmp_path, caps=(0.5,), n_passes=2)
    except MeasurementError as refused:
        pytest.skip(str(refused))
    if result.why_emulated:
        pytest.skip(result.why_emulated)
    plain = result.tokens[0]
    assert plain.method == "control group"
    assert plain.read_bytes > 12 * MIB


def test_one_pass_cannot_be_compared_with_a_first_one():
    with pytest.raises(MeasurementError, match="1 passes, expected at least 2"):
        memory_cap(n_passes=1)


@pytest.mark.parametrize("backend", ["auto", "faults"])
def test_only_the_embedding_table_is_sparse(backend):
    result = sparse_parts(n_tokens=5, backend=backend)
    if backend == "faults":
        assert result.verdict == "computed, not measured"
    parts = {part.name: part for part in result.parts}
    embedding = parts.pop("token_embedding")
    assert embedding.one_token_pages < embedding.n_pages / 10
    assert embedding.one_token_pages <= embedding.all_tokens_pages
    assert all(p.n_pages == p.one_token_pages == p.all_tokens_pages for p in parts.values())
    assert result.unneeded == 0
    assert f"Verdict: {result.verdict}" in str(result)


def test_experiments_leave_no_files_behind(tmp_path):
    load_race(n_bytes=MIB, folder=tmp_path)
    assert not list(tmp_path.iterdir())
