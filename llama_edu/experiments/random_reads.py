"""Pages in random order, as a database reads them: through a mapping, and by pread into a pool.

A database must find a page anywhere in a file, keep it as long as it is wanted, and write it back
when it is safe to. PostgreSQL maps anonymous memory for that and reads its tables into it, so a
page lies in memory twice: in that pool and in the page cache. LMDB maps its file and leaves the
choice of what stays in memory to the system. Here both read the same random pages.

What is counted differs in worth. How many pages are read is known, because the experiment chooses
them; page faults are compared with that number, and the verdict says whether they could have told
it. Memory and what came from the disk are counts of the kernel's. Times are those of this machine
at this moment.

Source: "shared_memory_type" and "effective_cache_size" in the manual of PostgreSQL,
https://www.postgresql.org/docs/current/runtime-config.html; http://www.lmdb.tech/doc/; A. Crotty,
V. Leis, A. Pavlo, "Are You Sure You Want to Use MMAP in Your Database Management System?", CIDR
2022, https://db.cs.cmu.edu/mmap-cidr2022/.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.experiments.observe.changing_file import Damage, Reader, Sight, look_at
from llama_edu.experiments.observe.own_process import bytes_from_disk, memory_without_file
from llama_edu.experiments.observe.subjects import read_through, weight_file
from llama_edu.files.mapped import MappedFile
from llama_edu.pages import linux
from llama_edu.pages.faults import FaultCounter
from llama_edu.pages.residency import evict, residency
from llama_edu.table import Rows, lay_out, mib, milliseconds

Way = Literal["mmap", "mmap, MADV_RANDOM", "pread"]
State = Literal["cold", "warm"]
#: Whether faults could have told how many pages were read.
FaultsVerdict = Literal[
    "one per page", "fewer than pages", "more than pages", "none", "not counted"
]

#: Faults of Python's own memory and of threads' stacks while the pages are read.
_NOISE_FAULTS = 100


@dataclass(frozen=True)
class Scan(Rows):
    """The chosen pages, read once in one way.

    Attributes:
        way: of reading. state: of the page cache before. n_threads: which shared the pages.
        elapsed_s: from the first page to the last, the best of the laps; the other numbers are of
            that lap.
        minor_faults, major_faults: of the process meanwhile; None if not counted.
        faults_verdict: "one per page", "fewer than pages", "more than pages", "none" (up to a few
            of Python's own) or "not counted".
        own_bytes: memory taken beside the page cache: the pool. disk_bytes: read from a disk for
            it, by read-ahead too. cached_bytes: of the file in the page cache afterwards. Each is
            None where the system does not say.
    """

    way: Way
    state: State
    n_threads: int
    elapsed_s: float
    minor_faults: int | None
    major_faults: int | None
    faults_verdict: FaultsVerdict
    own_bytes: int | None
    disk_bytes: int | None
    cached_bytes: int | None


@dataclass(frozen=True)
class RandomReads(Rows):
    """All scans of the same `n_pages` pages, and what a changed file does to each reader.

    `why_not_cold` is "" where the page cache could be emptied; else there are warm scans alone.
    """

    file_bytes: int
    page_bytes: int
    n_pages: int
    scans: tuple[Scan, ...]
    sights: tuple[Sight, ...]
    why_not_cold: str

    def __str__(self) -> str:
        rows = [
            (s.way, s.state, s.n_threads, s.faults_verdict, s.minor_faults, s.major_faults,
             mib(s.own_bytes), mib(s.disk_bytes), mib(s.cached_bytes), milliseconds(s.elapsed_s))
            for s in self.scans
        ]  # fmt: skip
        heads = ("way", "cache", "threads", "faults", "minor", "major", "own MiB", "disk MiB",
                 "cached MiB", "ms")  # fmt: skip
        lines = [
            f"{self.n_pages:,} pages, {mib(self.n_pages * self.page_bytes)} MiB, of a file of "
            f"{self.file_bytes:,} bytes, each read once, in random order:",
            lay_out(heads, rows, "<<><>"),
            "The number of pages is exact: they were chosen here. Faults and MiB are counts of the "
            "kernel's.\nTimes are the best laps on this machine, now; expect a factor of two.",
        ]
        if self.why_not_cold:
            lines.append(f"Not measured cold: {self.why_not_cold}.")
        seen = [(f"file {s.damage}", s.reader, s.outcome) for s in self.sights]
        lines += ["", "A page that was read once, after the file was changed:",
                  lay_out(None, seen, "<")]  # fmt: skip
        return "\n".join(lines)


def random_reads(
    path: str | Path | None = None,
    *,
    n_bytes: int = 64 << 20,
    folder: str | Path | None = None,
    fraction: float = 0.1,
    n_threads: tuple[int, ...] = (1, 4),
    n_laps: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> RandomReads:
    """Read a part of a file's pages in random order: mapped and by pread, cold and warm.

    Args:
        path: the file; it is evicted from the page cache. By default a temporary one of `n_bytes`
            random bytes in `folder`.
        fraction: of the pages that is read, above 0 and at most 1; a last page that the file does
            not fill is left out. n_threads: how many threads share them. n_laps: how often
            each scan is repeated; the fastest counts. clock: returns seconds.

    Raises MeasurementError where there is no pread into memory of one's own (Linux has it), or
    where two ways of reading gave other bytes.
    """
    if not hasattr(os, "preadv"):
        raise MeasurementError("random reads: this system has no preadv, expected Linux")
    if not 0 < fraction <= 1 or min(*n_threads, n_laps, 1) < 1:
        raise MeasurementError(
            f"random reads: a fraction of {fraction}, {n_threads} threads and {n_laps} laps, "
            f"expected above 0 and at most 1, and at least one of the others"
        )
    with weight_file(path, n_bytes, folder) as file:
        file_bytes = file.stat().st_size
        n_all = file_bytes // mmap.PAGESIZE
        n_pages = max(1, round(fraction * n_all))
        if n_all == 0:
            raise MeasurementError(f"random reads: {file.name} has less than one page")
        order = np.random.default_rng(2022).permutation(n_all)[:n_pages]
        scans: list[Scan] = []
        sums: set[int] = set()
        why_not_cold = ""
        for state in get_args(State):
            for threads in n_threads:
                for way in get_args(Way):
                    laps = []
                    for _ in range(n_laps):
                        if state == "cold":
                            why_not_cold = why_not_cold or _empty(file)
                            if why_not_cold:
                                break
                        else:
                            read_through(file)
                        lap, total = _scan(file, way, state, np.array_split(order, threads), clock)
                        laps.append(lap)
                        sums.add(total)
                    scans += sorted(laps, key=lambda lap: lap.elapsed_s)[:1]
        if len(sums) > 1:
            raise MeasurementError(
                f"random reads: the same pages of {file.name} summed to {len(sums)} numbers, "
                f"expected one; was the file changed meanwhile?"
            )
    sights = [look_at(r, d, folder) for d in get_args(Damage) for r in get_args(Reader)]
    return RandomReads(
        file_bytes, mmap.PAGESIZE, n_pages, tuple(scans), tuple(sights), why_not_cold
    )


def _scan(
    file: Path, way: Way, state: State, shares: list[np.ndarray], clock: Callable[[], float]
) -> tuple[Scan, int]:
    """One scan, and the sum of all words read, modulo 2**64."""
    n_pages = sum(map(len, shares))
    linux.give_back_freed_memory()
    before = memory_without_file(shared=True)
    with _reader(file, way, n_pages) as read:
        disk = bytes_from_disk()
        elapsed_s, total, counter = _in_threads(read, shares, clock)
        disk_now, now = bytes_from_disk(), memory_without_file(shared=True)
    try:
        found = residency(file)
        cached = found.n_resident * found.page_size
    except MeasurementError:
        cached = None
    faults = counter.counts
    return Scan(
        way, state, len(shares), elapsed_s,
        faults.minor if faults else None,
        faults.major if faults else None,
        _verdict(way, faults.total if faults else None, n_pages),
        None if before is None or now is None else max(0, now - before),
        None if disk is None or disk_now is None else disk_now - disk,
        cached,
    ), total  # fmt: skip


def _verdict(way: Way, n_faults: int | None, n_pages: int) -> FaultsVerdict:
    if n_faults is None:
        return "not counted"
    if n_faults < n_pages:
        # a warm mapping of large folios needs few faults, too
        return "none" if way == "pread" and n_faults <= _NOISE_FAULTS else "fewer than pages"
    return "one per page" if n_faults <= n_pages + _NOISE_FAULTS else "more than pages"


@contextmanager
def _reader(file: Path, way: Way, n_pages: int) -> Iterator[Callable[[int, int], int]]:
    """A function that sums the words of a page; its second argument is a free place in the pool.

    The sum makes each way look at every word, and numpy leaves the interpreter's lock to other
    threads meanwhile, as preadv does.
    """
    if way == "pread":
        pool = _pool(n_pages)
        frames, words = memoryview(pool), np.frombuffer(pool, np.uint64)
        with file.open("rb", buffering=0) as opened:
            fd = opened.fileno()

            def read(page: int, place: int) -> int:
                start = place * mmap.PAGESIZE
                frame = frames[start : start + mmap.PAGESIZE]
                if os.preadv(fd, [frame], page * mmap.PAGESIZE) != mmap.PAGESIZE:
                    raise MeasurementError(f"random reads: {file.name} became shorter meanwhile")
                return _sum(words, place)

            yield read
    else:
        with MappedFile(file) as mapped:
            if way == "mmap, MADV_RANDOM":
                linux.advise(mapped.mmap, "MADV_RANDOM")
            words = np.frombuffer(mapped.mmap, np.uint64, mapped.n_bytes // mmap.PAGESIZE * _WORDS)
            yield lambda page, _: _sum(words, page)
            del words


_WORDS = mmap.PAGESIZE // 8


def _sum(words: np.ndarray, place: int) -> int:
    return int(np.add.reduce(words[place * _WORDS : (place + 1) * _WORDS]))


def _pool(n_pages: int) -> mmap.mmap:
    """Anonymous shared memory, as PostgreSQL maps it, with all of its pages there already."""
    pool = mmap.mmap(-1, n_pages * mmap.PAGESIZE)
    np.frombuffer(pool, np.uint8)[:] = 1
    return pool


def _in_threads(
    read: Callable[[int, int], int], shares: list[np.ndarray], clock: Callable[[], float]
) -> tuple[float, int, FaultCounter]:
    """Read all pages, each thread its share; seconds, the sum modulo 2**64, and the faults."""
    barrier = threading.Barrier(len(shares) + 1)
    totals, failed = [0] * len(shares), []

    def work(number: int, first_place: int, pages: list[int]) -> None:
        barrier.wait()
        try:
            total = 0
            for place, page in enumerate(pages, first_place):
                total += read(page, place)
            totals[number] = total
        except Exception as error:  # handed to the caller below
            failed.append(error)

    starts = np.cumsum([0, *map(len, shares)])
    threads = [
        threading.Thread(target=work, args=(n, int(starts[n]), share.tolist()), daemon=True)
        for n, share in enumerate(shares)
    ]
    for thread in threads:
        thread.start()
    with FaultCounter() as counter:
        start = clock()
        barrier.wait()
        for thread in threads:
            thread.join()
        elapsed_s = clock() - start
    if failed:
        raise failed[0]
    return elapsed_s, sum(totals) % 2**64, counter


def _empty(file: Path) -> str:
    """Empty the page cache of a file; "" or why it could not be."""
    try:
        left = evict(file).after.n_resident
    except MeasurementError as error:
        return str(error)
    if not left:
        return ""
    return (
        f"{left:,} pages of {file.name} stayed cached after POSIX_FADV_DONTNEED, expected 0; is it "
        f"mapped elsewhere, or on a file system in memory?"
    )
