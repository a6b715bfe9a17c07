"""Touched pages by the processor's accessed bits, on a private copy of the file in memory.

The kernel reports accessed bits per memory area, and includes marks that other processes leave on
the same file pages. A copy that no other process maps is free of those; cutting it into small areas
after the run turns the sums into a bitmap.

The bits mean "translated", not "read": a prefetch instruction sets them on a page that is never
read. numpy's float sum prefetches 128 numbers ahead and so marks pages that it never reads. The
result is therefore an upper bound. Instruments that rely on faults do not have this flaw, because
a prefetch of an unmapped page is dropped.
Source: `NPY_PREFETCH` in numpy/_core/src/umath/loops_utils.h.src.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.files.mapped import MappedFile, open_weights
from llama_edu.pages import linux
from llama_edu.pages.arithmetic import n_pages_of, runs_of
from llama_edu.pages.backends.base import Backend, Reading
from llama_edu.pages.backends.present_bits import cut_into_areas, forbid_huge_pages, join_areas
from llama_edu.pages.reclaim import AnonymousReclaim

#: Pages of one memory area in the first, coarse pass. Blocks that were touched entirely or not at
#: all need no second pass, and in a dense model nearly all are one or the other.
_COARSE_PAGES = 512

#: Why a count by accessed bits is never called exact.
PREFETCH = (
    "accessed bits also count pages that the processor only prefetched, ahead of those that were "
    "read"
)

#: Pages cut into single areas at once; far below vm.max_map_count.
_MOST_CUT_PAGES = 16384


class PrivateCopy(MappedFile):
    """A file copied into private memory, used exactly like a mapping of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.mmap.close()
        n_pages = n_pages_of(self.n_bytes, mmap.PAGESIZE)
        # Two extra pages. The first is flagged, which keeps the kernel from joining the copy with
        # the area behind it, whose accesses would be counted as ours. The last is touched by `arm`:
        # it shows whether the bits were cleared later.
        self.data = mmap.mmap(-1, (n_pages + 2) * mmap.PAGESIZE)
        forbid_huge_pages(self.mmap)
        cut_into_areas(self.mmap, range(n_pages, n_pages + 1), 1)
        with open_weights(path) as file:
            if file.readinto(self.mmap) != self.n_bytes:
                raise MeasurementError(f"{path}: shrank while it was being copied")


class PrivateCopyBits(Backend):
    """Accessed bits of a private copy."""

    name = "private-copy"
    sees = "accessed bits of a private copy"
    effect_on_faults = "the file was copied into memory beforehand, so reading it does not fault"

    def __init__(self, path: Path) -> None:
        n_bytes = path.stat().st_size
        available = linux.available_memory()
        if available is not None and n_bytes * 1.25 > available:
            raise MeasurementError(
                f"private copy: the file has {n_bytes:,} bytes, expected at most "
                f"{int(available / 1.25):,}, as {available:,} bytes of memory are left"
            )
        linux.area_bytes("Referenced", 0, 0)  # refuses where accessed bits cannot be read at all
        self.mapped = PrivateCopy(path)
        self._reclaim = AnonymousReclaim(self.mapped, self.n_pages)
        self._process = os.getpid()

    def arm(self) -> None:
        """Clear the accessed bits."""
        if os.getpid() != self._process:
            raise MeasurementError(
                f"backend {self.name}: opened in another process; a forked child must open its "
                f"own lab"
            )
        linux.forget_accesses()
        left = sum(n for _, _, n in self._areas())
        if left:
            raise MeasurementError(
                f"backend {self.name}: {left:,} bytes are still marked as accessed, expected 0; "
                f"is another thread reading them?"
            )
        self._reclaim.start()
        self.mapped.mmap[(self.n_pages + 1) * mmap.PAGESIZE]  # the last page: see PrivateCopy

    def _cleared(self) -> tuple[str, ...]:
        """A reason if accessed bits were cleared since `arm`: the last page's bit is then gone."""
        first = self.mapped.address + (self.n_pages + 1) * mmap.PAGESIZE
        areas = linux.area_bytes("Referenced", first, first + mmap.PAGESIZE)
        if sum(n for _, _, n in areas):
            return ()
        return ("accessed bits were cleared by another process during the run (clear_refs)",)

    def read(self) -> Reading:
        """The pages whose accessed bit is set."""
        missed = self._cleared()
        unsure = self._reclaim.doubts()
        pages = np.zeros(self.n_pages, bool)
        try:
            doubtful = np.flatnonzero(self._coarse_look(pages))
            for first in range(0, len(doubtful), _MOST_CUT_PAGES):
                self._fine_look(doubtful[first : first + _MOST_CUT_PAGES], pages)
        finally:
            join_areas(self.mapped.mmap, self.n_pages)
        return Reading(pages, missed=missed, unsure=unsure, added=(PREFETCH,))

    def _coarse_look(self, pages: np.ndarray) -> np.ndarray:
        """Mark the blocks touched entirely; (n_pages,) bool, the pages that need a second pass."""
        cut_into_areas(self.mapped.mmap, range(self.n_pages), _COARSE_PAGES)
        doubtful = np.zeros(self.n_pages, bool)
        for area, n_bytes in self._page_areas():
            span = slice(area.start, area.stop)
            pages[span] = n_bytes == len(area) * mmap.PAGESIZE
            doubtful[span] = 0 < n_bytes < len(area) * mmap.PAGESIZE
        join_areas(self.mapped.mmap, self.n_pages)
        return doubtful

    def _fine_look(self, doubtful: np.ndarray, pages: np.ndarray) -> None:
        """Mark the touched ones of these pages, (n,) page numbers, one by one."""
        chosen = np.zeros(self.n_pages, bool)
        chosen[doubtful] = True
        for run in runs_of(chosen):
            cut_into_areas(self.mapped.mmap, run, 1)
            # The last page of a run of even length has no flag; without one on the page behind it,
            # the kernel would join the two into one area.
            if run.stop < self.n_pages and len(run) % 2 == 0:
                cut_into_areas(self.mapped.mmap, range(run.stop, run.stop + 1), 1)
        for area, n_bytes in self._page_areas():
            if chosen[area.start] and len(area) == 1:
                pages[area.start] = n_bytes > 0
        join_areas(self.mapped.mmap, self.n_pages)

    def _areas(self) -> list[tuple[int, int, int]]:
        first = self.mapped.address
        return linux.area_bytes("Referenced", first, first + self.n_pages * mmap.PAGESIZE)

    def _page_areas(self) -> list[tuple[range, int]]:
        """The areas as page ranges of the copy, clipped to it, with their accessed bytes."""
        first = self.mapped.address
        return [
            (
                range(
                    max(0, (start - first) // mmap.PAGESIZE),
                    min(self.n_pages, (end - first) // mmap.PAGESIZE),
                ),
                n_bytes,
            )
            for start, end, n_bytes in self._areas()
        ]
