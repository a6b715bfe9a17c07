"""What other programs do: read from a made /proc/stat, and from the real one."""

from __future__ import annotations

import os

import pytest

from llama_edu.bench import other_programs
from llama_edu.bench.other_programs import OtherProgramsWatch
from llama_edu.bench.stopwatch import Spent
from llama_edu.matmul.cores import Cores

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="only Linux says which cores are ours"
)


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """A function (seconds of core 3 before and after, own CPU seconds) -> what was seen in 10 s."""
    stat = tmp_path / "stat"
    monkeypatch.setattr(other_programs, "_STAT", stat)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    monkeypatch.setattr(other_programs, "cores", lambda: Cores(1, 1, ""))
    ticks = os.sysconf("SC_CLK_TCK")

    def write(user_s, stolen_s):
        idle = 1234 * user_s  # and so is time that waits for a disk, and what guests count again
        columns = [user_s * ticks, 0, 0, idle, idle, 0, 0, stolen_s * ticks, idle, idle]
        ours = "cpu3 " + " ".join(map(str, columns))
        stat.write_text(f"cpu  1 2 3 4 5 6 7 8 9 10\ncpu2 9 9 9 9 9 9 9 9 9 9\n{ours}\nintr 5\n")

    def see(before, after, own_s, children_s=0.0):
        children = iter([0.0, children_s])
        monkeypatch.setattr(other_programs, "_children_s", lambda: next(children))
        write(*before)
        started = OtherProgramsWatch()
        monkeypatch.setattr(started._stopwatch, "spent", lambda: Spent(10.0, own_s))
        write(*after)
        return started.seen()

    return see


def test_work_of_our_cores_that_is_not_ours_is_that_of_others(watch):
    found = watch((1000, 0), (1007, 2), own_s=4.0)
    assert found.cores_used == pytest.approx(0.5) and found.n_cores == 1
    assert found.are_busy


def test_children_that_were_waited_for_are_ours(watch):
    assert watch((0, 0), (9, 0), own_s=4.0, children_s=5.0).cores_used == pytest.approx(0.0)


def test_rounding_makes_nothing_negative(watch):
    assert watch((0, 0), (1, 0), own_s=1.01).cores_used == 0


@pytest.mark.parametrize(
    "text", ["", "cpu3 1 2\n", "cpu3 a b c d e f g h\n", "cpu7 1 1 1 1 1 1 1 1\n"]
)
def test_a_file_that_says_something_else_means_unknown(tmp_path, monkeypatch, text):
    stat = tmp_path / "stat"
    stat.write_text(text)
    monkeypatch.setattr(other_programs, "_STAT", stat)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert OtherProgramsWatch().seen().cores_used is None
    stat.unlink()
    assert OtherProgramsWatch().seen().cores_used is None
