"""How many cores a process uses: affinity, quotas of control groups, OMP_NUM_THREADS."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from llama_edu.errors import LlamaEduWarning
from llama_edu.matmul import cores as module
from llama_edu.matmul.cores import Cores, cores
from llama_edu.matmul.threads import check_threads


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """16 cores, all allowed, in no control group: a function that writes files of the system."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    sys = tmp_path / "sys"
    monkeypatch.setattr(module, "_OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(module, "_VERSION_2", (sys, sys / "unified"))
    monkeypatch.setattr(module, "_VERSION_1", (sys / "cpu", sys / "cpu,cpuacct"))

    def write(own_groups: str, files: dict[str, str]) -> None:
        (tmp_path / "cgroup").write_text(own_groups)
        for name, text in files.items():
            path = sys / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_without_a_limit_all_cores_are_used(machine):
    assert cores() == Cores(16, 16, "")
    assert str(cores()) == "16 cores for this process"
    assert check_threads(None) == 16


def test_a_machine_that_does_not_know_its_cores_has_one(machine, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores().usable == 1


def test_affinity_is_a_limit(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 9}, raising=False)
    assert cores().usable == 3
    assert str(cores()).startswith("3 of 16 cores for this process: the others are not in its aff")


def test_systems_without_affinity_have_all_cores(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == Cores(16, 16, "")


@pytest.mark.parametrize(
    ("quota", "usable"),
    [
        ("200000 100000", 2),
        ("150000 100000", 1),
        ("50000 100000", 1),  # less than one core is one thread all the same
        ("299999 100000", 2),
        ("max 100000", 16),
        ("3200000 100000", 16),
        ("", 16),
        ("nonsense 100000", 16),
        ("100000 0", 16),
    ],
)
def test_the_quota_of_a_control_group_is_rounded_down(machine, quota, usable):
    machine("0::/job\n", {"job/cpu.max": quota + "\n"})
    assert cores().usable == usable
    limited = ": the quota of its control group"
    assert str(cores()).endswith(limited) == (usable < 16)


@pytest.mark.parametrize("mount", ["", "unified/"])
def test_a_quota_of_a_group_above_counts_too(machine, mount):
    files = {
        f"{mount}a/cpu.max": "300000 100000",
        f"{mount}a/b/cpu.max": "max 100000",
        f"{mount}a/b/c/cpu.max": "500000 100000",
    }
    machine("0::/a/b/c\n", files)
    assert cores().usable == 3


def test_in_a_container_the_own_group_is_the_top_whatever_its_name_outside_is(machine):
    machine("0::/../../docker/0123\n", {"cpu.max": "400000 100000"})
    assert cores().usable == 4


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "usable"), [("250000", 2), ("-1", 16)])
def test_control_groups_of_version_1(machine, folder, quota, usable):
    own = "12:pids:/x\n4:cpu,cpuacct:/docker/0123\n3:cpuset:/\n0::/\n"
    period = {f"{folder}/docker/0123/cpu.cfs_period_us": "100000\n"}
    machine(own, {f"{folder}/docker/0123/cpu.cfs_quota_us": f"{quota}\n", **period})
    assert cores().usable == usable


def test_groups_of_other_controllers_do_not_count(machine):
    own = "3:cpuset:/x\n2:cpuacct:/x\n"
    machine(own, {"cpu/x/cpu.cfs_quota_us": "100000", "cpu/x/cpu.cfs_period_us": "100000"})
    assert cores().usable == 16


@pytest.mark.parametrize("own", ["", "\n", "nonsense\n", "0::\n", ":::::\n", "1:cpu\n"])
def test_unreadable_groups_are_no_limit(machine, own):
    machine(own, {})
    assert cores().usable == 16


def test_groups_in_another_encoding_are_no_limit(machine):
    module._OWN_GROUPS.write_bytes(b"0::/\xff\xfe\n")
    assert cores().usable == 16


@pytest.mark.parametrize(("value", "usable"), [("3", 3), ("5,2", 5), (" 7 ", 7), ("40", 16)])
def test_omp_num_threads_is_an_upper_limit(machine, monkeypatch, value, usable):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert cores().usable == usable
    assert str(cores()).endswith(": OMP_NUM_THREADS") == (usable < 16)


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5", ",3", "\x1b[31m2", "\u0663"])
def test_an_impossible_omp_num_threads_is_said_and_ignored(machine, monkeypatch, value):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    with pytest.warns(
        LlamaEduWarning, match=r"OMP_NUM_THREADS is '.*', expected 1 or more"
    ) as said:
        assert cores().usable == 16
    assert "\x1b" not in str(said[0].message)


def test_an_empty_omp_num_threads_is_none(machine, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cores().usable == 16


def test_the_tightest_limit_is_named(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    machine("0::/\n", {"cpu.max": "500000 100000"})
    assert cores() == Cores(5, 16, "the quota of its control group")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert cores() == Cores(2, 16, "OMP_NUM_THREADS")


def test_a_number_of_threads_that_was_asked_for_is_taken_as_it_is(machine, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert check_threads(6) == 6


@pytest.mark.skipif(not Path("/proc/self/cgroup").exists(), reason="no control groups here")
def test_this_machine_gives_a_number():
    assert 1 <= cores().usable <= (os.cpu_count() or 1)
