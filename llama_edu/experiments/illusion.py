"""The illusion of 2023: page faults times page size, mistaken for the memory that a model needs.

On 30 March 2023 a count of 411,522 page faults was read as "1.6 gigabytes" of a 20 gigabyte weight
file. This experiment repeats that reading on this machine, beside the true number of pages.
Source of the count: the author's comment on PR #613 of llama.cpp, as quoted at
https://blog.gslin.org/archives/tag/double/; corrected by its author a week later at
https://justine.lol/mmap/ and in Hacker News item 35400685.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.experiments.observe.subjects import read_through, weight_file
from llama_edu.files.mapped import MappedFile
from llama_edu.pages import linux
from llama_edu.pages.faults import FaultCounter, FaultCounts
from llama_edu.pages.lab import PageLab
from llama_edu.pages.residency import evict, prefetch
from llama_edu.pages.verdict import Kind
from llama_edu.table import Rows, lay_out, percent

FAULTS_2023 = 411_522
FILE_BYTES_2023 = 20 * 10**9
PAGE_BYTES_2023 = 4096
#: Linux maps up to this many bytes of a cached file per fault, since version 3.15 (2014).
#: Source: fault_around_bytes in mm/memory.c.
FAULT_AROUND_BYTES = 65_536

_ROW_BYTES = 4000


State = Literal["warm", "cold", "warm, in single pages"]
Access = Literal["every page", "10 % of the rows"]


@dataclass(frozen=True)
class Reading(Rows):
    """One access to the file, counted naively and correctly.

    Attributes:
        state: of the page cache before. access: what was read.
        faults: on a plain mapping, or None where they are not counted.
        naive_fraction: faults times page size, divided by the file's size.
        rss_fraction: share of the file in this process's page table afterwards.
        true_fraction: touched pages over pages. verdict: how far that can be trusted.
    """

    state: State
    access: Access
    faults: FaultCounts | None
    naive_fraction: float | None
    rss_fraction: float | None
    true_fraction: float | None
    verdict: Kind


@dataclass(frozen=True)
class Illusion(Rows):
    """The readings on this machine; as text, it begins with the arithmetic of 2023."""

    rows_of = ("readings",)

    file_bytes: int
    readings: tuple[Reading, ...]

    def __str__(self) -> str:
        naive = FAULTS_2023 * PAGE_BYTES_2023
        around = FAULTS_2023 * FAULT_AROUND_BYTES
        dense = -(-FILE_BYTES_2023 // FAULT_AROUND_BYTES)
        rows = [
            (r.state, r.access, str(r.faults) if r.faults else None, percent(r.naive_fraction),
             percent(r.rss_fraction), percent(r.true_fraction), r.verdict)
            for r in self.readings
        ]  # fmt: skip
        heads = ("file was", "read", "faults", "naive", "Rss", "touched", "verdict on touched")
        return "\n".join([
            f"2023: {FAULTS_2023:,} faults x {PAGE_BYTES_2023:,} bytes = {naive:,} bytes, "
            f"{naive / FILE_BYTES_2023:.1%} of a 20 GB file.",
            f"But one fault maps up to {FAULT_AROUND_BYTES:,} bytes: x {FAULT_AROUND_BYTES:,} = "
            f"{around:,} bytes, {around / FILE_BYTES_2023:.0%} of it. Reading all of it takes at "
            f"least {dense:,} faults; the count fits a complete read.",
            f"Here, on a file of {self.file_bytes:,} bytes (naive and Rss: counts only, wrong):",
            lay_out(heads, rows, "<<>"),
        ])  # fmt: skip


def illusion(
    path: str | Path | None = None,
    *,
    n_bytes: int = 64 << 20,
    folder: str | Path | None = None,
    backend: str = "auto",
) -> Illusion:
    """Count faults and touched pages for a complete and a sparse read: warm, cold, in single pages.

    Args:
        path: a weight file; it is evicted from the page cache. By default a temporary file of
            `n_bytes` random bytes in `folder`.
        backend: the instrument for the true number.
    """
    with weight_file(path, n_bytes, folder) as file:
        file_bytes = file.stat().st_size
        readings = [
            _read(file, backend, state, prepare, access, where)
            for state, prepare in _STATES.items()
            for access, where in _accesses(file_bytes).items()
        ]
    return Illusion(file_bytes, tuple(r for r in readings if r is not None))


def _accesses(n_bytes: int) -> dict[Access, np.ndarray]:
    """What is read -> (n,) int64, offsets of bytes that touch each page of it."""
    every = np.arange(0, n_bytes, mmap.PAGESIZE)
    n_rows = n_bytes // _ROW_BYTES
    rows = np.random.default_rng(613).choice(n_rows, n_rows // 10, replace=False) * _ROW_BYTES
    return {"every page": every, "10 % of the rows": np.union1d(rows, rows + _ROW_BYTES - 1)}


def _cold(file: Path) -> None:
    if evict(file).after.n_resident:
        raise MeasurementError("the file cannot be evicted here")


def _in_small_pages(file: Path) -> None:
    """Evict, then prefetch: the kernel caches prefetched data in single pages."""
    _cold(file)
    prefetch(file)


_STATES: dict[State, Callable[[Path], None]] = {
    "warm": read_through,
    "cold": _cold,
    "warm, in single pages": _in_small_pages,
}


def _read(
    file: Path, backend: str, state: State, prepare: Callable[[Path], None], access: Access,
    where: np.ndarray,
) -> Reading | None:  # fmt: skip
    """One reading, or None where the file cannot be brought into that state."""
    try:
        prepare(file)
    except MeasurementError:
        return None
    with MappedFile(file) as plain:
        n_bytes = plain.n_bytes
        with FaultCounter() as counter:
            _sum_bytes(plain.mmap, where)
        rss = _resident_fraction(plain)
    # opened for this reading only: a mapped file could not be evicted for the next one
    with PageLab(file, {}, backend) as lab, lab.record(access) as record:
        _sum_bytes(lab.backend.mapped.mmap, where)
    faults = counter.counts
    return Reading(
        state, access, faults,
        faults.total * mmap.PAGESIZE / n_bytes if faults else None,
        rss,
        None if record.n_touched is None else record.n_touched / record.n_pages,
        record.verdict.kind,
    )  # fmt: skip


def _resident_fraction(mapped: MappedFile) -> float | None:
    try:
        areas = linux.area_bytes("Rss", mapped.address, mapped.address + mapped.n_bytes)
    except MeasurementError:
        return None
    return sum(n for _, _, n in areas) / mapped.n_bytes


def _sum_bytes(mapping: mmap.mmap, where: np.ndarray) -> int:
    return int(np.frombuffer(mapping, np.uint8)[where].sum(dtype=np.int64))
