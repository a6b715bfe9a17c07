"""Touched pages by their page table entries, on a mapping where a fault makes exactly one.

Normally a fault on a cached file maps the pages around it as well, so a present entry says little.
Two ways to stop that: register the mapping with userfaultfd (the kernel then maps one page per
fault), or cut it into areas of one page each (it maps nothing beyond the area).
"""

from __future__ import annotations

import abc
import errno
import mmap
import os
from pathlib import Path

from llama_edu.errors import MeasurementError
from llama_edu.files.mapped import MappedFile
from llama_edu.pages import kernel
from llama_edu.pages.backends import Backend, Reading
from llama_edu.pages.reclaim import FileReclaim

#: Memory areas left for everything else in the process: libraries, threads, large arrays.
_SPARE_AREAS = 2000


class _PresentBits(Backend):
    """What both ways share: forget by dropping the entries, read by looking which are back."""

    one_fault_per_page = True
    effect_on_faults = (
        "the instrument makes every touched page fault by itself; on a plain mapping the same "
        "work faults far less often"
    )

    def __init__(self, path: Path) -> None:
        self.mapped = MappedFile(path, private=True)
        self._reclaim = FileReclaim(path, self.mapped.n_bytes)
        self._process = os.getpid()
        try:
            forbid_huge_pages(self.mapped.mmap)
            self._prepare()
        except MeasurementError:
            self.mapped.close()
            raise

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Make the kernel enter one page per fault; MeasurementError where it does not."""

    def arm(self) -> None:
        """Drop every page table entry of the mapping; the data stay in the page cache."""
        if os.getpid() != self._process:
            raise MeasurementError(
                f"backend {self.name}: opened in another process; a forked child must open its "
                f"own lab"
            )
        kernel.advise(self.mapped.mmap, "MADV_DONTNEED")
        left = int(kernel.present_pages(self.mapped.address, self.n_pages).sum())
        if left:
            raise MeasurementError(
                f"backend {self.name}: {left:,} pages stay mapped, expected 0; is memory locked "
                f"(mlock) or being read by another thread?"
            )
        self._reclaim.start()

    def read(self) -> Reading:
        """The pages that have an entry again."""
        if os.getpid() != self._process:
            raise MeasurementError(f"backend {self.name}: the record was begun by another process")
        pages = kernel.present_pages(self.mapped.address, self.n_pages)
        return Reading(pages, missed=self._reclaim.doubts())


class WriteProtectAsync(_PresentBits):
    """Page table entries of a mapping registered with userfaultfd (Linux 6.7)."""

    name = "uffd"
    sees = "page table entries, one per fault (userfaultfd)"

    def _prepare(self) -> None:
        length = self.n_pages * mmap.PAGESIZE
        self._uffd = kernel.register_write_protect(self.mapped.address, length)

    def close(self) -> None:
        """End the registration and unmap."""
        if self._uffd >= 0:
            os.close(self._uffd)
            self._uffd = -1
        super().close()


class OnePageAreas(_PresentBits):
    """Page table entries of a mapping cut into memory areas of one page."""

    name = "one-page"
    sees = "page table entries, one area per page"

    def _prepare(self) -> None:
        allowed = kernel.most_memory_areas() - kernel.n_memory_areas() - _SPARE_AREAS
        if self.n_pages > allowed:
            raise MeasurementError(
                f"one-page areas: the file has {self.n_pages:,} pages, expected at most "
                f"{max(0, allowed):,} (vm.max_map_count)"
            )
        cut_into_areas(self.mapped.mmap, range(self.n_pages), 1)


def forbid_huge_pages(mapping: mmap.mmap) -> None:
    """Keep the kernel from mapping 2 MiB with one entry, which userfaultfd does not prevent."""
    try:
        kernel.advise(mapping, "MADV_NOHUGEPAGE")
    except kernel.KernelRefusal as refused:
        if refused.code != errno.EINVAL:  # a kernel without huge pages knows no such advice
            raise


def cut_into_areas(mapping: mmap.mmap, pages: range, block: int) -> None:
    """Cut a run of pages into memory areas of `block` pages, by marks that mean nothing here.

    Every other block is left out of core dumps; the kernel keeps areas with different marks apart.
    The pages and their table entries stay as they are. `join_areas` undoes it.
    """
    for first in range(pages.start, pages.stop, 2 * block):
        length = (min(first + block, pages.stop) - first) * mmap.PAGESIZE
        kernel.advise(mapping, "MADV_DONTDUMP", first * mmap.PAGESIZE, length)


def join_areas(mapping: mmap.mmap, n_pages: int) -> None:
    """Make one memory area of the first `n_pages` pages again."""
    kernel.advise(mapping, "MADV_DODUMP", 0, n_pages * mmap.PAGESIZE)
