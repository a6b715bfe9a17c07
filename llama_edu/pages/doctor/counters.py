"""The counters that the doctor reads, and the accesses after which it reads them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.files.mapped import MappedFile, open_weights
from llama_edu.pages import linux
from llama_edu.pages.arithmetic import n_pages_of
from llama_edu.pages.calibrate import touch
from llama_edu.pages.faults import process_faults
from llama_edu.pages.lab import PageLab
from llama_edu.pages.reclaim import may_ask_about


@dataclass(frozen=True)
class Access:
    """A way of touching known pages of a mapping."""

    what: str
    pages: np.ndarray
    perform: Callable[[mmap.mmap, np.ndarray], object]

    def on(self, mapping: mmap.mmap) -> None:
        """Touch exactly `pages`."""
        self.perform(mapping, self.pages)


@dataclass(frozen=True)
class Counter:
    """A counter: its name, how to read it, and what it actually counts."""

    name: str
    count: Callable[[Path, Access], int]
    why: str


def sum_to_the_edge(mapping: mmap.mmap, pages: np.ndarray) -> None:
    """Sum the last kilobyte of each page; the processor prefetches from the next one."""
    numbers = np.frombuffer(mapping, np.float32, len(mapping) // 4)
    for page in pages:
        end = (page + 1) * mmap.PAGESIZE // 4
        numbers[end - 256 : end].sum()


def _on_plain_mapping(path: Path, access: Access, ask: Callable[[MappedFile], int]) -> int:
    """Touch pages of the cached file through a plain mapping, then call `ask`."""
    path.read_bytes()
    with MappedFile(path) as mapped:
        access.on(mapped.mmap)
        return ask(mapped)


def _faults(kind: str) -> Callable[[Path, Access], int]:
    def count(path: Path, access: Access) -> int:
        path.read_bytes()
        with MappedFile(path) as mapped:
            before = process_faults()
            access.on(mapped.mmap)
            after = process_faults()
        if before is None or after is None:
            raise MeasurementError("this system counts no page faults")
        return getattr(after - before, kind)

    return count


def _present(path: Path, access: Access) -> int:
    def ask(mapped: MappedFile) -> int:
        n_pages = n_pages_of(mapped.n_bytes, mmap.PAGESIZE)
        return int(linux.present_pages(mapped.address, n_pages).sum())

    return _on_plain_mapping(path, access, ask)


def _area_pages(field: str, mapped: MappedFile) -> int:
    first = mapped.address
    areas = linux.area_bytes(field, first, first + mapped.n_bytes)
    return sum(n for _, _, n in areas) // mmap.PAGESIZE


def _rss(path: Path, access: Access) -> int:
    return _on_plain_mapping(path, access, lambda mapped: _area_pages("Rss", mapped))


def _referenced(path: Path, access: Access) -> int:
    def ask(mapped: MappedFile) -> int:
        touch(mapped.mmap, np.arange(n_pages_of(mapped.n_bytes, mmap.PAGESIZE)))
        linux.forget_accesses()
        access.on(mapped.mmap)
        return _area_pages("Referenced", mapped)

    return _on_plain_mapping(path, access, ask)


def _resident(mapped: MappedFile) -> int:
    if not may_ask_about(mapped.path):
        raise MeasurementError("this user neither owns the file nor may write it")
    return int(linux.mincore_pages(mapped.address, mapped.n_bytes).sum())


def _mincore(path: Path, access: Access) -> int:
    return _on_plain_mapping(path, access, _resident)


def _mincore_evicted(path: Path, access: Access) -> int:
    if not hasattr(os, "posix_fadvise"):
        raise MeasurementError("this system cannot evict a file")
    with open_weights(path) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with MappedFile(path) as mapped:
        access.on(mapped.mmap)
        return _resident(mapped)


def _cachestat(path: Path, access: Access) -> int:
    def ask(mapped: MappedFile) -> int:
        with open_weights(path) as file:
            return linux.cachestat(file.fileno(), mapped.n_bytes).cached

    return _on_plain_mapping(path, access, ask)


def _lab(backend: str) -> Callable[[Path, Access], int]:
    def count(path: Path, access: Access) -> int:
        with PageLab(path, {}, backend) as lab:
            with lab.record() as record:
                access.on(lab.backend.mapped.mmap)
            return record.n_touched or 0

    return count


def _ordered(path: Path, access: Access) -> int:
    with PageLab(path, {}) as lab:
        with lab.record(ordered=True) as record:
            access.on(lab.backend.mapped.mmap)
        return 0 if record.order is None else len(record.order)


COUNTERS = (
    Counter("minor faults (getrusage)", _faults("minor"),
             "one fault maps the pages around it, or a whole large folio"),
    Counter("major faults (getrusage)", _faults("major"),
             "counts only waits for the disk; this file was cached"),
    Counter("present bits (pagemap)", _present,
             "also counts neighboring pages that a fault mapped"),
    Counter("Rss (smaps)", _rss,
             "like present bits, also counts neighboring pages that a fault mapped"),
    Counter("Referenced (smaps)", _referenced,
             "counts accessed bits of large pages, and marks from other processes"),
    Counter("mincore", _mincore,
             "reports what is in the page cache, regardless of which process put it there"),
    Counter("mincore after eviction", _mincore_evicted,
             "read-ahead caches pages that were not asked for"),
    Counter("cachestat", _cachestat,
             "reports what is in the page cache, regardless of which process put it there"),
    Counter("lab: uffd", _lab("uffd"), "passed its calibration and was wrong later"),
    Counter("lab: one-page", _lab("one-page"), "passed its calibration and was wrong later"),
    Counter("lab: private-copy", _lab("private-copy"), "counts pages that were only prefetched"),
    Counter("lab: mincore", _lab("mincore"), "another process read the file during the run"),
    Counter("lab: fault addresses (perf)", _ordered, "the kernel's buffer was full"),
)  # fmt: skip
