"""Touched pages as the pages of a cold file that entered the page cache: mincore after an eviction.

The oldest way, and the one with the most conditions. The file is evicted from the page cache and
read-ahead is switched off, so every page that is cached afterwards was read by some process. The
count of major faults, one for each page, confirms that it was this process.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.files.mapped import MappedFile, open_weights
from llama_edu.pages import linux
from llama_edu.pages.backends.base import Backend, Reading
from llama_edu.pages.backends.present_bits import forbid_huge_pages
from llama_edu.pages.faults import FaultCounts, process_faults, thread_faults
from llama_edu.pages.reclaim import FileReclaim, may_ask_about

#: A page that another processor is about to move between the kernel's lists survives one eviction.
_MOST_EVICTIONS = 5


class CacheBits(Backend):
    """mincore on a file that was evicted first."""

    name = "mincore"
    sees = "pages of the evicted file that entered the page cache (mincore)"
    one_fault_per_page = False  # a fault also maps neighboring pages that are already cached
    effect_on_faults = (
        "the instrument evicts the file and switches read-ahead off, so every page is waited for; "
        "on a plain mapping the same work faults far less often"
    )

    def __init__(self, path: Path) -> None:
        if not hasattr(os, "posix_fadvise"):
            raise MeasurementError("mincore: this system cannot evict a file (no posix_fadvise)")
        if not may_ask_about(path):
            raise MeasurementError(
                f"mincore: this user neither owns {path} nor may write it; Linux would report "
                f"every page as resident"
            )
        self.mapped = MappedFile(path, private=True)
        self._path = path
        self._reclaim = FileReclaim(path, self.mapped)
        try:
            forbid_huge_pages(self.mapped.mmap)
            linux.advise(self.mapped.mmap, "MADV_RANDOM")
        except MeasurementError:
            self.mapped.close()
            raise

    def arm(self) -> None:
        """Evict the file from the page cache, and check that it is gone."""
        self._reclaim.lock.open()
        linux.advise(self.mapped.mmap, "MADV_DONTNEED")  # mapped pages would not be evicted
        for _ in range(_MOST_EVICTIONS):
            self._evict()
            left = int(self._resident().sum())
            if not left:
                break
        if left:
            raise MeasurementError(
                f"mincore: {left:,} of {self.n_pages:,} pages stay in the page cache after an "
                f"eviction; is the file mapped by another process, or on a file system in memory?"
            )
        self._reclaim.start()
        self._process, self._thread = process_faults(), thread_faults()

    def _evict(self) -> None:
        with open_weights(self._path) as file:
            os.fsync(file.fileno())  # dirty pages would not be evicted either
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def read(self) -> Reading:
        """The pages that are cached now and, if the page table can be read, mapped here."""
        process, thread = process_faults(), thread_faults()
        self._reclaim.stop()
        pages = self._resident()
        with contextlib.suppress(MeasurementError):
            # a page that only another process read has no entry in our page table
            pages &= linux.present_pages(self.mapped.address, self.n_pages)
        return Reading(
            pages,
            missed=self._reclaim.losses(),
            unsure=self._reclaim.doubts(),
            added=self._strangers(pages, process, thread),
        )

    def _strangers(
        self, pages: np.ndarray, process: FaultCounts | None, thread: FaultCounts | None
    ) -> tuple[str, ...]:
        """Reasons why another process may have brought in a page."""
        if not (process and thread and self._process and self._thread):
            return ("major faults are not counted here, so other processes cannot be ruled out",)
        n_pages = int(pages.sum())
        n_major = process.major - self._process.major
        if n_major != thread.major - self._thread.major:
            return (
                "several threads waited for pages, so major faults do not certify that no other "
                "process read the file",
            )
        if n_major != n_pages:
            return (
                f"{n_pages:,} pages were added with {n_major:,} major faults, expected one for "
                f"each; another process read the file, or pages came in larger units",
            )
        return ()

    def _resident(self) -> np.ndarray:
        return linux.mincore_pages(self.mapped.address, self.mapped.n_bytes)
