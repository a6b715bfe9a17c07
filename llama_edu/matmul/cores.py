"""How many cores this process should use, and what decides it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from llama_edu.errors import LlamaEduWarning

#: Where Linux tells a process its control groups, and where their files are: of version 2, alone or
#: beside version 1, and of version 1.
_OWN_GROUPS = Path("/proc/self/cgroup")
_VERSION_2 = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
_VERSION_1 = (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/cpu,cpuacct"))


class Cores(NamedTuple):
    """Cores to use.

    Attributes:
        usable: at least 1. machine: how many the machine has.
        limit: what keeps the process from using more, in words; "" if nothing does.
    """

    usable: int
    machine: int
    limit: str

    def __str__(self) -> str:
        if not self.limit:
            return f"{self.usable} cores for this process"
        return f"{self.usable} of {self.machine} cores for this process: {self.limit}"


def cores() -> Cores:
    """The smallest of what the machine has and what affinity, quota and OMP_NUM_THREADS allow.

    A quota counts whole cores: with two threads on one and a half, both would be stopped for a
    quarter of the time. It may change, so it is read each time.
    """
    machine = os.cpu_count() or 1
    found = Cores(machine, machine, "")
    for n, limit in (
        (_in_affinity(), "the others are not in its affinity (taskset, a job or a container)"),
        (_in_quota(), "the quota of its control group"),
        (_in_environment(), "OMP_NUM_THREADS"),
    ):
        if n is not None and n < found.usable:
            found = Cores(n, machine, limit)
    return found


def _in_affinity() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return None


def _in_environment() -> int | None:
    """OMP_NUM_THREADS, the first number of a list; what cannot be one is said and ignored."""
    given = os.environ.get("OMP_NUM_THREADS", "").strip()
    if not given:
        return None
    first = given.split(",")[0].strip()
    if first.isascii() and first.isdigit() and int(first) > 0:
        return int(first)
    warnings.warn(
        f"OMP_NUM_THREADS is {given!r}, expected 1 or more; it is ignored",
        LlamaEduWarning,
        stacklevel=2,
    )
    return None


def _in_quota() -> int | None:
    """Whole cores that the control groups of this process allow, at least 1; None without a quota.

    Source: cpu.max in Documentation/admin-guide/cgroup-v2.rst of Linux, and cpu.cfs_quota_us in
    Documentation/scheduler/sched-bwc.rst.
    """
    try:
        groups = _OWN_GROUPS.read_text().splitlines()
    except (OSError, ValueError):
        return None
    shares = []
    for group in groups:  # 0::/user.slice, or 4:cpu,cpuacct:/docker/0123
        _, controllers, path = (*group.split(":", 2), "", "")[:3]
        if not controllers:
            shares += [_share(*text) for text in _files(_VERSION_2, path, "cpu.max")]
        elif "cpu" in controllers.split(","):
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            shares += [_share(*text) for text in _files(_VERSION_1, path, *names)]
    whole = [max(1, int(share)) for share in shares if share is not None]
    return min(whole, default=None)


def _files(mounts: tuple[Path, ...], group: str, *names: str) -> Iterator[tuple[str, ...]]:
    """The words in these files of a group and of all groups above it.

    In a container, the names of the groups above its own may be unknown; its own is then the top.
    """
    parts = [part for part in group.split("/") if part not in ("", "..")]
    for mount in mounts:
        for depth in range(len(parts), -1, -1):
            folder = mount.joinpath(*parts[:depth])
            try:
                yield tuple(" ".join((folder / name).read_text() for name in names).split())
            except (OSError, ValueError):
                continue


def _share(*numbers: str) -> float | None:
    """A quota divided by its period; None for "max", for -1 and for what is no number."""
    try:
        quota, period = (int(number) for number in numbers)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None
