"""Several processes and one file: mapped, they share its pages; read, each has a copy.

Rss cannot tell the two apart, because it counts a shared page for every process. Pss divides it by
the number of processes that map it, and the sum of private memory shows what was really taken.

Only the file and memory without a file are counted. Python's own libraries are not: their Pss falls
whenever another process maps them. Workers of a real engine, which compute with a model, are in
`workers`: there the whole process counts, as an administrator sees it.
Source: proc(5), smaps.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from llama_edu.errors import MeasurementError, RequestError
from llama_edu.experiments.observe.subjects import weight_file
from llama_edu.experiments.sharing.workers import How, Worker, measure_workers
from llama_edu.pages.residency import residency
from llama_edu.table import Rows, lay_out, mib, milliseconds
from llama_edu.workers.pieces import MapFunction

#: What each process does. It imports nothing large, so that the file is most of its memory.
_CHILD = """
import json, mmap, os, sys
how, path = sys.argv[1:]
counted = {0, os.stat(path).st_ino}
def memory():
    fields, inode = {"Rss": 0, "Pss": 0, "Anonymous": 0}, 0
    for line in open("/proc/self/smaps"):
        first, *others = line.split()
        if not first.endswith(":"):
            inode = int(others[3])
        elif first[:-1] in fields and inode in counted:
            fields[first[:-1]] += int(others[0]) * 1024
    return fields
before = memory()
with open(path, "rb") as file:
    if how == "mmap":
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    else:
        data = file.read()
for place in range(0, len(data), 4096):
    data[place]
print("loaded", flush=True)
sys.stdin.readline()
after = memory()
print(json.dumps({name: after[name] - before[name] for name in after}), flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True)
class Group(Rows):
    """Processes that hold the same file at the same time; averages over them, in bytes.

    `cached_bytes` of the file are in the page cache meanwhile, once for all; None if unknown.
    """

    how: How
    n_processes: int
    rss_bytes: int
    pss_bytes: int
    private_bytes: int
    cached_bytes: int | None


@dataclass(frozen=True)
class Sharing(Rows):
    """What each group of processes took, in addition to what they had before.

    Attributes:
        workers: in the place of groups, workers that computed with a model, each by itself.
    """

    rows_of = ("groups", "workers")

    file_bytes: int
    groups: tuple[Group, ...]
    workers: tuple[Worker, ...] = ()

    def __str__(self) -> str:
        if self.workers:
            return self._workers()
        rows = [
            (g.how, g.n_processes, mib(g.rss_bytes), mib(g.pss_bytes), mib(g.private_bytes),
             mib(g.private_bytes * g.n_processes), mib(g.cached_bytes))
            for g in self.groups
        ]  # fmt: skip
        heads = ("loaded by", "processes", "Rss MiB each", "Pss MiB each", "private MiB each",
                 "private MiB in all", "cached MiB")  # fmt: skip
        return f"A file of {self.file_bytes:,} bytes in several processes:\n" + lay_out(heads, rows)

    def _workers(self) -> str:
        rows = [
            (w.how, w.number + 1, mib(w.cached_bytes), milliseconds(w.open_s),
             milliseconds(w.first_s), mib(w.rss_bytes), mib(w.pss_bytes), mib(w.file_rss_bytes),
             mib(w.file_pss_bytes), mib(w.private_bytes))
            for w in self.workers
        ]  # fmt: skip
        heads = ("loaded by", "worker", "cached before, MiB", "open, ms", "first pass, ms",
                 "Rss MiB", "Pss MiB", "file Rss", "file Pss", "private MiB")  # fmt: skip
        totals = []
        for how in get_args(How):
            pss = [w.pss_bytes for w in self.workers if w.how == how]
            totals.append(f"{mib(sum(pss))} MiB by {how}")
        return (
            f"A model of {self.file_bytes:,} bytes in workers that opened it one after the other, "
            f"while all have it open:\n{lay_out(heads, rows)}\nAll workers together (sum of Pss): "
            f"{', '.join(totals)}."
        )


def sharing(
    path: str | Path | None = None,
    *,
    n_bytes: int = 64 << 20,
    folder: str | Path | None = None,
    n_processes: tuple[int, ...] = (1, 2, 4),
    workers: int | None = None,
    map: MapFunction | None = None,
) -> Sharing:
    """Load a file in several processes at once, by mmap and by read(), and compare their memory.

    With `workers`, those of a real engine compute with it as a model.

    Args:
        path: the file; by default a temporary one of `n_bytes` random bytes in `folder`.
        n_processes: sizes of the groups.
        workers: processes that the engine behind `map` has, all on this machine; `path` is then a
            model, by default the bundled one.
        map: Executor.map of that engine, or a function with its contract; None starts a
            ProcessPoolExecutor of so many workers.
    Raises:
        MeasurementError: there is no /proc/self/smaps (Linux has it); a process ended; the engine
            has fewer processes than `workers`.
        RequestError: `map` without `workers`, or an impossible number of them.
        EngineError: the engine ended.
    """
    if not Path("/proc/self/smaps").exists():
        raise MeasurementError("sharing: this system has no /proc/self/smaps, expected Linux")
    if workers is not None:
        n_bytes, measured = measure_workers(path, workers, map)
        return Sharing(n_bytes, (), measured)
    if map is not None:
        raise RequestError(
            "sharing: map without workers, expected how many processes the engine has: each of "
            "them takes one piece"
        )
    with weight_file(path, n_bytes, folder) as file:
        groups = [_measure(file, how, n) for how in get_args(How) for n in n_processes]
        return Sharing(file.stat().st_size, tuple(groups))


def _measure(file: Path, how: How, n: int) -> Group:
    with ExitStack() as stack:
        children = [stack.enter_context(_start(file, how)) for _ in range(n)]
        for child in children:
            _answer(child, file)  # all have loaded the file before the first is measured
        cached = _cached_bytes(file)
        taken = []
        for child in children:
            _tell(child)
            taken.append(json.loads(_answer(child, file)))
        for child in children:
            _tell(child)
    rss, pss, private = (sum(t[k] for t in taken) // n for k in ("Rss", "Pss", "Anonymous"))
    return Group(how, n, rss, pss, private, cached)


def _cached_bytes(file: Path) -> int | None:
    try:
        found = residency(file)
    except MeasurementError:
        return None
    return min(found.n_resident * found.page_size, found.file_bytes)


def _start(file: Path, how: How) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _CHILD, how, str(file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _tell(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def _answer(child: subprocess.Popen[str], file: Path) -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise MeasurementError(
            f"sharing: a process that loaded {file.name} ended with code {child.wait()}, expected "
            f"an answer; is there enough memory?"
        )
    return line
