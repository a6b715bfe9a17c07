"""Touched pages by their page table entries, on a mapping where a fault makes exactly one.

Normally a fault on a cached file also maps the pages around it, so a present entry says little.
There are two ways to prevent that: register the mapping with userfaultfd (the kernel then maps one
page per fault), or cut it into areas of one page each (the kernel maps nothing beyond the area).
"""

from __future__ import annotations

import abc
import errno
import mmap
import os
from pathlib import Path

from llama_edu.errors import MeasurementError
from llama_edu.files.mapped import MappedFile
from llama_edu.pages import linux
from llama_edu.pages.backends.base import Backend, Reading
from llama_edu.pages.reclaim import FileReclaim


class PresentBits(Backend):
    """What both ways share: `arm` drops all entries, `read` reports which are back."""

    one_fault_per_page = True
    effect_on_faults = (
        "the instrument makes every touched page fault separately; on a plain mapping the same "
        "work faults far less often"
    )

    def __init__(self, path: Path) -> None:
        self.mapped = MappedFile(path, private=True)
        self._reclaim = FileReclaim(path, self.mapped)
        self._process = os.getpid()
        try:
            forbid_huge_pages(self.mapped.mmap)
            self._prepare()
        except MeasurementError:
            self.mapped.close()
            raise

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Make the kernel map one page per fault; MeasurementError if that is not possible."""

    def arm(self) -> None:
        """Drop every page table entry of the mapping; the data stay in the page cache."""
        if os.getpid() != self._process:
            raise MeasurementError(
                f"backend {self.name}: opened in another process; a forked child must open its "
                f"own lab"
            )
        self._reclaim.lock.open()
        linux.advise(self.mapped.mmap, "MADV_DONTNEED")
        left = int(linux.present_pages(self.mapped.address, self.n_pages).sum())
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
        self._reclaim.stop()
        pages = linux.present_pages(self.mapped.address, self.n_pages)
        n_mapped = int(pages.sum())
        return Reading(
            pages,
            missed=self._reclaim.losses(),
            unsure=self._reclaim.doubts(n_mapped),
            added=self._reclaim.strangers(n_mapped),
        )


def forbid_huge_pages(mapping: mmap.mmap) -> None:
    """Keep the kernel from mapping 2 MiB by one entry, which userfaultfd does not prevent."""
    try:
        linux.advise(mapping, "MADV_NOHUGEPAGE")
    except linux.KernelRefusal as refused:
        if refused.code != errno.EINVAL:  # a kernel without huge pages does not know this advice
            raise


def cut_into_areas(mapping: mmap.mmap, pages: range, block: int) -> None:
    """Cut a run of pages into memory areas of `block` pages, by a flag that has no effect here.

    Every other block is excluded from core dumps; the kernel keeps areas with different flags
    apart. The pages and their table entries do not change. `join_areas` undoes it.
    """
    for first in range(pages.start, pages.stop, 2 * block):
        length = (min(first + block, pages.stop) - first) * mmap.PAGESIZE
        linux.advise(mapping, "MADV_DONTDUMP", first * mmap.PAGESIZE, length)


def join_areas(mapping: mmap.mmap, n_pages: int) -> None:
    """Make one memory area of the first `n_pages` pages again."""
    linux.advise(mapping, "MADV_DODUMP", 0, n_pages * mmap.PAGESIZE)
