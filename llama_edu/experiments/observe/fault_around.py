"""A fault is not a page: which pages the system maps when a program touches a few.

When a page that is not mapped is touched, Linux maps its neighbors too, as far as they are in the
page cache: up to 64 KiB around it since version 3.15 (2014), and whole pieces of the page cache in
version 6.18. Here some pages of a file are touched one after the other, and after each touch this
process's page table is read: a page that had no entry before it was touched has made a fault, and
every other new entry was mapped along.
Source: do_fault_around in mm/memory.c; commits 19773df031bc and 357b92761d94 of Linux.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.experiments.observe.subjects import weight_file
from llama_edu.files.mapped import MappedFile
from llama_edu.pages import linux
from llama_edu.pages.arithmetic import n_pages_of
from llama_edu.pages.lab import PageLab
from llama_edu.pages.residency import evict, prefetch
from llama_edu.table import Rows, lay_out

#: How the state of the lab's mapping begins.
_LAB = "under the lab"

#: Pages of the temporary file, and those that are touched, in this order.
N_PAGES = 96
TOUCHED = (3, 9, 37, 38, 60, 90)


@dataclass(frozen=True)
class Strip(Rows):
    """One mapping of the file, after all touches.

    Attributes:
        state: how the file lay in the page cache, and how it was mapped.
        touched: the pages, in order. faulted: those of them that had no entry in the page table
            when they were touched. mapped: every page that has one afterward.
    """

    state: str
    touched: tuple[int, ...]
    faulted: tuple[int, ...]
    mapped: tuple[int, ...]


@dataclass(frozen=True)
class FaultAround(Rows):
    """The strips of one machine.

    Attributes:
        n_pages: of the part of the file that was looked at. page_size: bytes of a page.
        where: where it was measured, if not on this machine just now.
    """

    n_pages: int
    page_size: int
    strips: tuple[Strip, ...]
    where: str = ""

    @property
    def ordinary(self) -> Strip:
        """The last strip of an ordinary mapping: of single pages, where that could be measured."""
        return [s for s in self.strips if not s.state.startswith(_LAB)][-1]

    def __str__(self) -> str:
        rows = [(s.state, len(s.touched), len(s.faulted), len(s.mapped)) for s in self.strips]
        title = f"{self.n_pages} pages of {self.page_size:,} bytes"
        if self.where:
            title += f"; not measured here: {self.where}"
        return f"{title}\n" + lay_out(("the file was", "touched", "faults", "mapped"), rows, "<>")


#: What was measured on one machine, to look at where nothing can be measured.
RECORDED = FaultAround(
    N_PAGES, 4096,
    (
        Strip("cached as it was written, today", TOUCHED, (3, 90), (*range(64), *range(84, 96))),
        Strip("cached in single pages, as in 2023", TOUCHED, (3, 37, 60, 90),
              (*range(16), *range(36, 68), *range(84, 96))),
        Strip(f"{_LAB} (uffd)", TOUCHED, TOUCHED, TOUCHED),
    ),
    "a record of Linux 6.18 on x86-64, ext4",
)  # fmt: skip


def fault_around(
    path: str | Path | None = None, *, folder: str | Path | None = None
) -> FaultAround:
    """Touch a few pages of a file and look after each touch which pages are mapped now.

    Args:
        path: a file of at least N_PAGES pages; it is evicted from the page cache. By default a
            temporary one in `folder`.
    Returns:
        A strip for each state that the file can be brought into here.
    Raises:
        MeasurementError: this system does not let a process read its own page table, or the file
            is too short.
    """
    with weight_file(path, N_PAGES * mmap.PAGESIZE, folder) as file:
        if n_pages_of(file.stat().st_size, mmap.PAGESIZE) < N_PAGES:
            raise MeasurementError(
                f"{file}: {file.stat().st_size:,} bytes, expected at least {N_PAGES} pages; choose "
                f"a larger file"
            )
        strips = [
            _on_plain_mapping(file, "cached as it was written, today", _warm),
            _on_plain_mapping(file, "cached in single pages, as in 2023", _in_single_pages),
            _under_the_lab(file),
        ]
    return FaultAround(N_PAGES, mmap.PAGESIZE, tuple(s for s in strips if s is not None))


def _in_single_pages(file: Path) -> None:
    """Evict and prefetch: what is prefetched is cached page by page."""
    if evict(file).after.n_resident:
        raise MeasurementError(f"{file.name}: cannot be evicted here")
    prefetch(file)


def _warm(file: Path) -> None:
    """Into the page cache, in pieces as large as the system likes, if it is not there already."""
    with file.open("rb", buffering=0) as opened:
        while opened.read(1 << 20):
            pass


def _on_plain_mapping(file: Path, state: str, prepare: Callable[[Path], None]) -> Strip | None:
    """A strip of an ordinary mapping; None where the file cannot be brought into this state."""
    try:
        prepare(file)
    except MeasurementError:
        return None
    with MappedFile(file) as mapped:
        return _touch_and_look(state, mapped)


def _under_the_lab(file: Path) -> Strip | None:
    """A strip of the instrument's mapping; None where no instrument makes one fault per page."""
    with PageLab(file, {}) as lab:
        if not lab.backend.one_fault_per_page:
            return None
        lab.backend.arm()
        return _touch_and_look(f"{_LAB} ({lab.backend.name})", lab.backend.mapped)


def _touch_and_look(state: str, mapped: MappedFile) -> Strip:
    before, faulted = linux.present_pages(mapped.address, N_PAGES), []
    if before.any():
        raise MeasurementError(f"{mapped.path.name}: {before.sum()} pages are mapped already")
    for page in TOUCHED:
        _ = mapped.mmap[page * mmap.PAGESIZE]
        if not before[page]:
            faulted.append(page)
        before = linux.present_pages(mapped.address, N_PAGES)
    return Strip(state, TOUCHED, tuple(faulted), tuple(np.flatnonzero(before).tolist()))
