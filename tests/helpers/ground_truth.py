"""Accesses whose pages are known beforehand, for every instrument to be judged by.

Each pattern reads from `data`, (n_bytes,) uint8, and returns the byte ranges it read. As a program,
`python ground_truth.py FILE BACKEND [deny] [nobody] [group=FOLDER]` runs them in a process of its
own, with system calls denied, as another user or in a control group (only those that allocate
nothing large), and prints one JSON line.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np

import llama_edu
from helpers import paging_out

BACKENDS = ("uffd", "one-page", "private-copy", "mincore")
PACKAGE = Path(llama_edu.__file__).parents[1]
PAGE = mmap.PAGESIZE
#: A whole number of 4000-byte rows is not a whole number of pages, and the last page is partial.
N_BYTES = 4 * 2**20 + 1234
ROW = 4000


def write_file(path: Path, n_bytes: int = N_BYTES, *, sync: bool = True) -> Path:
    """Write a file of small floats, so that sums of it overflow nowhere."""
    rng = np.random.default_rng(n_bytes)
    data = rng.standard_normal(-(-n_bytes // 4), np.float32).tobytes()[:n_bytes]
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    return path


def evict(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rows_of(data):
    n = len(data) // ROW
    return data[: n * ROW].view(np.float32).reshape(n, ROW // 4)


def some(data, fraction, seed=0):
    n_pages = -(-len(data) // PAGE)
    rng = np.random.default_rng([seed, n_pages])
    return rng.choice(n_pages, max(1, round(n_pages * fraction)), replace=False)


def touch(data, pages):
    data[np.asarray(pages) * PAGE].sum()
    return [(int(page) * PAGE, 1) for page in pages]


def every(data):
    return touch(data, range(-(-len(data) // PAGE)))


def straddling(data):
    data[3 * PAGE - 1 : 3 * PAGE + 1].sum()
    return [(3 * PAGE - 1, 2)]


def last_byte(data):
    int(data[-1])
    return [(len(data) - 1, 1)]


def last_of_a_page(data):
    int(data[8 * PAGE - 1])
    return [(8 * PAGE - 1, 1)]


def some_rows(data, seed=1):
    rows = np.random.default_rng(seed).choice(len(rows_of(data)), 40, replace=False)
    for row in rows:
        rows_of(data)[row].copy()
    return [(int(row) * ROW, ROW) for row in rows]


def taken_rows(data):
    rows = np.random.default_rng(2).choice(len(rows_of(data)), 40, replace=False)
    np.take(rows_of(data), rows, axis=0)
    return [(int(row) * ROW, ROW) for row in rows]


def summed_row(data):
    # row 3 ends 268 bytes before the end of a page: the sum prefetches from the next
    rows_of(data)[3].sum()
    return [(3 * ROW, ROW)]


def gemv(data):
    block = rows_of(data)[100:400]
    block @ np.ones(block.shape[1], np.float32)
    return [(100 * ROW, 300 * ROW)]


def gemm(data):
    block = rows_of(data)[500:1000]
    np.ones((16, block.shape[1]), np.float32) @ block.T
    return [(500 * ROW, 500 * ROW)]


def one_column(data):
    rows_of(data)[:, 3].copy()
    return [(row * ROW + 12, 4) for row in range(len(rows_of(data)))]


def column_slice(data):
    rows_of(data)[::7, :512].copy()
    return [(row * ROW, 2048) for row in range(0, len(rows_of(data)), 7)]


def cast_then_slice(data):
    # numpy converts the whole matrix before the slice is taken
    rows_of(data).astype(np.float64)[:10].copy()
    return [(0, len(rows_of(data)) * ROW)]


def in_threads(data, pages_of_each):
    threads = [threading.Thread(target=touch, args=(data, pages)) for pages in pages_of_each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [(int(page) * PAGE, 1) for pages in pages_of_each for page in pages]


def written_to_a_file(data):
    with tempfile.TemporaryFile() as out:
        os.write(out.fileno(), data[5 * PAGE + 7 : 9 * PAGE + 8])
    return [(5 * PAGE + 7, 4 * PAGE + 1)]


def experts(data):
    """Two of eight equal parts, as a mixture of experts uses its weights."""
    part = len(data) // PAGE // 8 * PAGE
    data[2 * part : 3 * part].max()
    data[5 * part : 6 * part].max()
    return [(2 * part, part), (5 * part, part)]


PATTERNS = {
    "nothing": lambda data: [],
    "the first byte": lambda data: touch(data, [0]),
    "the last byte of a partial last page": last_byte,
    "two bytes across a page edge": straddling,
    "the last byte of a page": last_of_a_page,
    "every page": every,
    "every 2nd page": lambda data: touch(data, range(0, len(data) // PAGE, 2)),
    "every 16th page": lambda data: touch(data, range(0, len(data) // PAGE, 16)),
    "every 17th page": lambda data: touch(data, range(0, len(data) // PAGE, 17)),
    "every 512th page": lambda data: touch(data, range(0, len(data) // PAGE, 512)),
    "0.1 % at random": lambda data: touch(data, some(data, 0.001)),
    "5 % at random": lambda data: touch(data, some(data, 0.05)),
    "50 % at random": lambda data: touch(data, some(data, 0.5)),
    "99 % at random": lambda data: touch(data, some(data, 0.99)),
    "rows that straddle pages": some_rows,
    "rows taken": taken_rows,
    "the sum of a row": summed_row,
    "matrix times vector": gemv,
    "matrix times matrix": gemm,
    "one column": one_column,
    "a slice of columns": column_slice,
    "a cast, then a slice": cast_then_slice,
    "4 threads on pages of their own": lambda data: in_threads(
        data, np.array_split(some(data, 0.2), 4)
    ),
    "4 threads on the same pages": lambda data: in_threads(data, [some(data, 0.1)] * 4),
    "written to a file by the kernel": written_to_a_file,
    "touched twice": lambda data: touch(data, [4, 9, 4, 9]),
    "two experts of eight": experts,
}


#: Patterns that need no memory of their own.
SMALL_PATTERNS = ("nothing", "5 % at random", "every page", "two bytes across a page edge")


def truth(ranges, n_bytes):
    """The pages of byte ranges, by a loop."""
    pages = np.zeros(-(-n_bytes // PAGE), bool)
    for offset, length in ranges:
        pages[offset // PAGE : (offset + length - 1) // PAGE + 1] = True
    return pages


def judge(record, expected):
    """What a record says beside what is true, and whether its verdict is kept."""
    pages, kind = record.pages, record.verdict.kind
    if pages is None or kind == "counts only":
        missing = extra = None
        kept = True
    else:
        missing = int((expected & ~pages).sum())
        extra = int((pages & ~expected).sum())
        kept = {
            "exact": missing == extra == 0,
            "lower bound": extra == 0,
            "upper bound": missing == 0,
        }[kind]
    return {"kind": kind, "missing": missing, "extra": extra, "kept": kept,
            "touched": int(expected.sum()), "reasons": record.verdict.reasons}  # fmt: skip


def pressed(reasons):
    """Whether something on this machine reclaimed memory meanwhile, which no test can prevent."""
    return "reclaim" in " ".join(reasons)


def run_patterns(lab, patterns=PATTERNS):
    """name -> judgment, every pattern in a record of its own."""
    data = np.frombuffer(lab.backend.mapped.mmap, np.uint8)[: lab.path.stat().st_size]
    results = {}
    for name, pattern in patterns.items():
        with lab.record(name) as record:
            ranges = pattern(data)
        results[name] = judge(record, truth(ranges, len(data)))
    return results


def random_pages(rng, n_pages):
    """Pages to touch: a few or many, scattered or in runs."""
    if rng.random() < 0.3:
        first = int(rng.integers(n_pages))
        return np.arange(first, min(n_pages, first + int(rng.integers(1, 300))))
    return rng.choice(n_pages, int(rng.integers(0, n_pages // 2)), replace=False)


def check_paged_out(path, backend, way, seeds, *, always=False):
    """Random patterns, pages being taken back during a tenth of the records (or all).

    Returns how many verdicts of each kind were right; fails on the first that is broken.
    """
    import pytest

    from llama_edu.errors import MeasurementError
    from llama_edu.pages.lab import PageLab

    kinds = Counter()
    with ExitStack() as stack:
        try:
            lab = stack.enter_context(PageLab(path, {}, backend))
        except MeasurementError as refused:
            pytest.skip(str(refused))
        outside = None
        if way == "outside":
            outside = stack.enter_context(closing(paging_out.FromOutside()))
        data = np.frombuffer(lab.backend.mapped.mmap, np.uint8)
        for seed in seeds:
            rng = np.random.default_rng(seed)
            pages = random_pages(rng, lab.n_pages)
            again = rng.choice(pages, len(pages) // 3) if len(pages) else pages
            paged = always or rng.random() < 0.1
            first = int(rng.integers(lab.n_pages))
            n = int(rng.integers(1, lab.n_pages - first + 1))
            if rng.random() < 0.5:
                first, n = 0, lab.n_pages
            with lab.record() as record:
                data[pages * PAGE].sum(dtype=np.int64)
                if paged and outside:
                    outside.page_out(lab.backend.mapped.address + first * PAGE, n)
                elif paged:
                    paging_out.from_inside(lab.backend.mapped.mmap, first, n)
                if rng.random() < 0.5:  # some come back
                    data[again * PAGE].sum(dtype=np.int64)
            expected = np.zeros(lab.n_pages, bool)
            expected[pages] = True
            judged = judge(record, expected)
            assert judged["kept"], (seed, judged)
            kinds[judged["kind"], bool(paged)] += 1
        del data
    return kinds


def deny_system_calls(*numbers: int) -> None:
    """Make these x86-64 system calls fail with EPERM, for this process and for good.

    The way Docker's default profile treats userfaultfd and perf_event_open. Source: seccomp(2).
    """
    program = [(0x20, 0, 0, 0)]  # load the system call number
    for i, number in enumerate(numbers):
        program.append((0x15, len(numbers) - i, 0, number))  # equal: jump to the refusal
    program += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | 1)]  # allow; EPERM

    class Filter(ctypes.Structure):
        _fields_ = (
            ("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte),
            ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32),
        )  # fmt: skip

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Filter)))

    filters = (Filter * len(program))(*program)
    bpf = Program(len(program), filters)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(bpf)):
        raise OSError(ctypes.get_errno(), "seccomp")


def in_a_process(*args):
    """The JSON line of ground_truth.py run as a program."""
    command = [sys.executable, __file__, *map(str, args)]
    tests = str(Path(__file__).parents[1])
    path = os.pathsep.join([str(PACKAGE), tests])
    surroundings = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", timeout=250, env=surroundings
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def become_nobody() -> None:
    """Give up root for good, as a process that another user had started."""
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    # a process that changed its user is hidden from itself in /proc; starting one anew would not be
    if ctypes.CDLL(None).prctl(4, 1, 0, 0, 0):
        raise OSError("prctl(PR_SET_DUMPABLE)")


if __name__ == "__main__":
    import fcntl  # noqa: F401  nobody may be unable to read the folder they come from
    import resource  # noqa: F401

    from llama_edu.errors import MeasurementError
    from llama_edu.pages.lab import PageLab

    where, wanted = sys.argv[1:3]
    chosen = PATTERNS
    for argument in sys.argv[3:]:
        if argument.startswith("group="):
            Path(argument.removeprefix("group="), "cgroup.procs").write_text("0")
            chosen = {name: PATTERNS[name] for name in SMALL_PATTERNS}
    if "deny" in sys.argv[3:]:
        deny_system_calls(323, 298)
    if "nobody" in sys.argv[3:]:
        np.random.default_rng(0).choice(3, 2, replace=False)
        become_nobody()
    try:
        with PageLab(where, {}, wanted) as lab:
            results = run_patterns(lab, chosen)
            print(json.dumps({"backend": lab.backend.name, "refused": lab.refused,
                              "results": results}))  # fmt: skip
    except MeasurementError as error:
        print(json.dumps({"backend": None, "refused": {wanted: str(error)}, "results": {}}))
