"""The honesty of instruments: what each counter of this machine reports when the truth is known.

On a file of its own the doctor touches one page in twenty, scattered, then every page, then sums
numbers up to the edge of a page, and asks each counter how many pages that was. A counter that is
right every time is trusted, on this machine, for such accesses; the others are named with what they
count instead.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.files.mapped import MappedFile, open_weights
from llama_edu.pages import linux
from llama_edu.pages.calibrate import touch
from llama_edu.pages.faults import process_faults
from llama_edu.pages.lab import PageLab
from llama_edu.pages.reclaim import may_ask_about
from llama_edu.table import lay_out

#: Pages of the doctor's file; 16 MiB where a page has 4 KiB. Not a multiple of a huge page.
N_PAGES = 4099


Trust = Literal["trusted", "under-counts", "over-counts", "under- and over-counts", "refused"]


@dataclass(frozen=True)
class Finding:
    """What one counter said.

    Attributes:
        counter: what was read.
        reported: pages it reported for each access, in the order of `Report.touched`; empty when
            it was refused.
        verdict: how it did.
        why: one sentence.
    """

    counter: str
    reported: tuple[int, ...]
    verdict: Trust
    why: str


@dataclass(frozen=True)
class Report:
    """The findings on this machine.

    `touched` lists the accesses: what was done, and how many pages that touches.
    """

    n_pages: int
    touched: tuple[tuple[str, int], ...]
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        heads = ("counter", *(f"{n:,} {what}" for what, n in self.touched), "verdict")
        nothing = (None,) * len(self.touched)
        rows = [(f.counter, *(f.reported or nothing), f"{f.verdict}: {f.why}")
                for f in self.findings]  # fmt: skip
        title = (
            f"Touched known pages of a file of {self.n_pages:,} pages of {mmap.PAGESIZE:,} bytes, "
            f"and asked every counter."
        )
        return f"{title}\n" + lay_out(heads, rows, "<" + ">" * len(self.touched) + "<")


def examine(folder: Path | str | None = None, *, n_pages: int = N_PAGES, seed: int = 0) -> Report:
    """Examine every counter on a temporary file, which is removed again. Takes a few seconds.

    Args:
        folder: where to make the file, as file systems differ; the system's own place for temporary
            files if not given.
        n_pages: pages of the file.
        seed: of the scattered pages.
    """
    rng = np.random.default_rng(seed)
    accesses = (
        _Access("scattered", rng.choice(n_pages, n_pages // 20, replace=False), touch),
        _Access("all", np.arange(n_pages), touch),
        _Access("summed", np.arange(0, n_pages - 1, 20), _sum_to_the_edge),
    )
    with tempfile.TemporaryDirectory(dir=folder, prefix="llama_edu_") as made:
        path = Path(made) / "known.bin"
        # a partly filled last page, and bytes that no file system stores as a hole
        content = rng.standard_normal(n_pages * mmap.PAGESIZE // 4, np.float32).tobytes()[:-1234]
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        findings = tuple(_find(counter, path, accesses) for counter in _COUNTERS)
    return Report(n_pages, tuple((a.what, len(a.pages)) for a in accesses), findings)


@dataclass(frozen=True)
class _Access:
    """A way of touching known pages of a mapping."""

    what: str
    pages: np.ndarray
    perform: Callable[[mmap.mmap, np.ndarray], object]

    def on(self, mapping: mmap.mmap) -> None:
        """Touch exactly `pages`."""
        self.perform(mapping, self.pages)


def _sum_to_the_edge(mapping: mmap.mmap, pages: np.ndarray) -> None:
    """Sum the last kilobyte of each page; the processor prefetches from the next one."""
    numbers = np.frombuffer(mapping, np.float32, len(mapping) // 4)
    for page in pages:
        end = (page + 1) * mmap.PAGESIZE // 4
        numbers[end - 256 : end].sum()


@dataclass(frozen=True)
class _Counter:
    """A counter: its name, how to read it, and what it counts in truth."""

    name: str
    count: Callable[[Path, _Access], int]
    why: str


def _find(counter: _Counter, path: Path, accesses: tuple[_Access, ...]) -> Finding:
    try:
        reported = tuple(counter.count(path, access) for access in accesses)
    except MeasurementError as error:
        return Finding(counter.name, (), "refused", str(error))
    too_few = any(n < len(a.pages) for n, a in zip(reported, accesses, strict=True))
    too_many = any(n > len(a.pages) for n, a in zip(reported, accesses, strict=True))
    verdict: Trust
    if too_few and too_many:
        verdict = "under- and over-counts"
    elif too_few or too_many:
        verdict = "under-counts" if too_few else "over-counts"
    else:
        return Finding(counter.name, reported, "trusted", "right every time")
    return Finding(counter.name, reported, verdict, counter.why)


def _on_plain_mapping(path: Path, access: _Access, ask: Callable[[MappedFile], int]) -> int:
    """Touch pages of the cached file through a plain mapping, then ask."""
    path.read_bytes()
    with MappedFile(path) as mapped:
        access.on(mapped.mmap)
        return ask(mapped)


def _faults(kind: str) -> Callable[[Path, _Access], int]:
    def count(path: Path, access: _Access) -> int:
        path.read_bytes()
        with MappedFile(path) as mapped:
            before = process_faults()
            access.on(mapped.mmap)
            after = process_faults()
        if before is None or after is None:
            raise MeasurementError("this system counts no page faults")
        return getattr(after - before, kind)

    return count


def _present(path: Path, access: _Access) -> int:
    def ask(mapped: MappedFile) -> int:
        n_pages = -(-mapped.n_bytes // mmap.PAGESIZE)
        return int(linux.present_pages(mapped.address, n_pages).sum())

    return _on_plain_mapping(path, access, ask)


def _area_pages(field: str, mapped: MappedFile) -> int:
    first = mapped.address
    areas = linux.area_bytes(field, first, first + mapped.n_bytes)
    return sum(n for _, _, n in areas) // mmap.PAGESIZE


def _rss(path: Path, access: _Access) -> int:
    return _on_plain_mapping(path, access, lambda mapped: _area_pages("Rss", mapped))


def _referenced(path: Path, access: _Access) -> int:
    def ask(mapped: MappedFile) -> int:
        touch(mapped.mmap, np.arange(-(-mapped.n_bytes // mmap.PAGESIZE)))
        linux.forget_accesses()
        access.on(mapped.mmap)
        return _area_pages("Referenced", mapped)

    return _on_plain_mapping(path, access, ask)


def _resident(mapped: MappedFile) -> int:
    if not may_ask_about(mapped.path):
        raise MeasurementError("this user neither owns the file nor may write it")
    return int(linux.mincore_pages(mapped.address, mapped.n_bytes).sum())


def _mincore(path: Path, access: _Access) -> int:
    return _on_plain_mapping(path, access, _resident)


def _mincore_evicted(path: Path, access: _Access) -> int:
    if not hasattr(os, "posix_fadvise"):
        raise MeasurementError("this system cannot evict a file")
    with open_weights(path) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with MappedFile(path) as mapped:
        access.on(mapped.mmap)
        return _resident(mapped)


def _cachestat(path: Path, access: _Access) -> int:
    def ask(mapped: MappedFile) -> int:
        with open_weights(path) as file:
            return linux.cachestat(file.fileno(), mapped.n_bytes).cached

    return _on_plain_mapping(path, access, ask)


def _lab(backend: str) -> Callable[[Path, _Access], int]:
    def count(path: Path, access: _Access) -> int:
        with PageLab(path, {}, backend) as lab:
            with lab.record() as record:
                access.on(lab.backend.mapped.mmap)
            return record.n_touched or 0

    return count


def _ordered(path: Path, access: _Access) -> int:
    with PageLab(path, {}) as lab:
        with lab.record(ordered=True) as record:
            access.on(lab.backend.mapped.mmap)
        return 0 if record.order is None else len(record.order)


_COUNTERS = (
    _Counter("minor faults (getrusage)", _faults("minor"),
             "one fault maps the pages around it, or a whole large folio"),
    _Counter("major faults (getrusage)", _faults("major"),
             "counts only waits for the disk; this file was cached"),
    _Counter("present bits (pagemap)", _present,
             "pages that a fault mapped along are present as well"),
    _Counter("Rss (smaps)", _rss,
             "the same as present bits: pages that were mapped along count"),
    _Counter("Referenced (smaps)", _referenced,
             "accessed bits of large pages, and marks that others left on the file"),
    _Counter("mincore", _mincore,
             "says what is in the page cache, whoever put it there"),
    _Counter("mincore after eviction", _mincore_evicted,
             "read-ahead caches pages that nobody asked for"),
    _Counter("cachestat", _cachestat,
             "says what is in the page cache, whoever put it there"),
    _Counter("lab: uffd", _lab("uffd"), "did not keep what its calibration promised"),
    _Counter("lab: one-page", _lab("one-page"), "did not keep what its calibration promised"),
    _Counter("lab: private-copy", _lab("private-copy"), "counts pages that were only prefetched"),
    _Counter("lab: mincore", _lab("mincore"), "another process read the file meanwhile"),
    _Counter("lab: fault addresses (perf)", _ordered, "the kernel's buffer was full"),
)  # fmt: skip
