"""The race of loading gives opening and first pass together, and the memory that each way takes."""

import itertools
import platform

import numpy as np
import pytest

from llama_edu.errors import MeasurementError
from llama_edu.experiments.load_race import load_race
from llama_edu.matmul.heap import keep_freed_memory

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="measures Linux")

MIB = 2**20


def test_the_best_lap_counts_and_the_range_of_the_second_pass_is_shown(tmp_path):
    laps = [(1, 5, 3), (2, 2, 8), (0, 6, 4)]  # the second one is through the file first
    steps = itertools.cycle([step for lap in laps for step in (*lap, 0)])
    ticks = itertools.accumulate(steps, initial=0)
    result = load_race(n_bytes=MIB, folder=tmp_path, n_laps=3, clock=lambda: next(ticks))
    assert {(r.open_s, r.first_s, r.second_s, r.slowest_second_s) for r in result.laps} == {
        (2, 2, 3, 8)
    }
    assert "best of 3" in str(result) and "3,000.0 to 8,000.0" in str(result)


def test_a_race_of_no_laps_is_refused():
    with pytest.raises(MeasurementError, match="0 laps, expected at least 1"):
        load_race(n_laps=0)


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


def test_experiments_leave_no_files_behind(tmp_path):
    load_race(n_bytes=MIB, folder=tmp_path)
    assert not list(tmp_path.iterdir())
