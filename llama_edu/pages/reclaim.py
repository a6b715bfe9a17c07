"""Reclaim: whether the kernel may have taken pages back during a measurement.

A page that was read and then reclaimed looks as if it had never been read. Every instrument that
reads page tables then counts too few and shows nothing unusual. Memory pressure is not the only
cause: any process of the same user, a memory-saving daemon or the program itself can advise the
kernel to page out (MADV_PAGEOUT), and a page can be unmapped without leaving the page cache.

The remedy is to lock each page when it is touched. Where that is not allowed, there is only
indirect evidence; if it cannot exclude a loss, the count is a lower bound.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from llama_edu.errors import MeasurementError
from llama_edu.files.mapped import MappedFile, open_weights
from llama_edu.pages import linux
from llama_edu.pages.arithmetic import n_pages_of
from llama_edu.pages.faults import process_faults

#: The largest number of queries in the search for old eviction marks; each takes about 0.1 ms.
_MOST_QUESTIONS = 400

#: Of the available memory; a locked file that does not fit would end the process.
_LOCKED_FRACTION = 0.75


class Lock:
    """Keeps the pages of one mapping in memory from their first touch, where that is allowed.

    Attributes:
        refusal: why they are not locked, or "" while they are.
    """

    def __init__(self, mapped: MappedFile, n_pages: int) -> None:
        self._mapped = mapped
        self._n_bytes = n_pages * mmap.PAGESIZE
        self.refusal = "not locked yet"

    def open(self) -> None:
        """Unlock: entries of a locked mapping cannot be dropped."""
        if not self.refusal:
            linux.unlock(self._mapped.address, self._n_bytes)
            self.refusal = "not locked yet"

    def close(self) -> None:
        """Lock what is touched from now on; if that is not possible, `refusal` says why."""
        available = linux.available_memory()
        if available is None or self._n_bytes > _LOCKED_FRACTION * available:
            self.refusal = (
                f"{self._n_bytes:,} bytes may not fit in memory, so they are not locked there"
            )
            return
        try:
            linux.lock_as_touched(self._mapped.address, self._n_bytes)
            self.refusal = ""
        except (MeasurementError, ImportError, ValueError, OSError) as error:
            self.refusal = f"pages cannot be locked in memory here ({error}; see ulimit -l)"


class FileReclaim:
    """Whether pages of a mapped file can have been lost between `start` and `stop`.

    If its pages are locked, none can. Otherwise there are three kinds of evidence. A page that is
    evicted from the page cache leaves a mark there, which `cachestat` counts as evicted; `start`
    makes the kernel forget older marks. Under memory pressure marks are discarded, which the
    machine's `workingset_nodereclaim` counts. A page that was unmapped but stays cached leaves no
    mark: it shows only as a fault that left no page behind. So a count is certain only if every
    fault of the process is accounted for by a page that is mapped now.
    Source: mlock2(2); mm/vmscan.c, mm/workingset.c and cachestat in mm/filemap.c of the Linux tree.
    """

    def __init__(self, path: Path, mapped: MappedFile) -> None:
        self._path = path
        self._n_bytes = mapped.n_bytes
        self.lock = Lock(mapped, n_pages_of(mapped.n_bytes, mmap.PAGESIZE))

    def start(self) -> None:
        """Start observing. Clearing eviction marks may also drop cached pages of the file."""
        self.lock.close()
        self._old_marks, self._refusal = 0, ""
        if self.lock.refusal:
            try:
                self._old_marks = self._forget_marks()
            except MeasurementError as error:
                self._refusal = str(error)
        self._pruned = linux.vm_counters().get("workingset_nodereclaim")
        self._faults = process_faults()

    def stop(self) -> None:
        """Stop observing; call it before doing anything else that could fault."""
        now = process_faults()
        self._n_faults: int | None = None
        if now is not None and self._faults is not None:
            self._n_faults = (now - self._faults).total
        self._marks = 0
        if self.lock.refusal and not self._refusal:
            self._marks = self._ask(0, self._n_bytes).evicted
        self._pruned_now = linux.vm_counters().get("workingset_nodereclaim")

    def losses(self) -> tuple[str, ...]:
        """What is known to have been reclaimed between `start` and `stop`; empty if nothing is."""
        if self._marks and not self._old_marks:
            return (f"{self._marks:,} pages of the file were reclaimed during the run",)
        return ()

    def doubts(self, n_mapped: int | None = None) -> tuple[str, ...]:
        """Why pages may have been reclaimed unnoticed since `start`; empty if that is impossible.

        Args:
            n_mapped: pages that are mapped now, if each was mapped by its own fault.
        """
        if not self.lock.refusal:
            return ()
        if self._old_marks:
            return (
                f"{self._old_marks:,} pages of the file were marked as evicted before the run and "
                f"the marks cannot be cleared, so a page reclaimed during it cannot be told from "
                f"them",
            )
        if n_mapped is not None and self._n_faults is not None:
            if self._n_faults <= n_mapped:
                return ()
            return (
                f"{self._n_faults - n_mapped:,} page faults of the process left no page of the "
                f"file behind; they may be of other memory or of pages that were reclaimed: "
                f"{self.lock.refusal}",
            )
        if self._refusal:
            return (f"whether pages were reclaimed cannot be asked here ({self._refusal})",)
        if self._pruned is None or self._pruned_now != self._pruned:
            return ("eviction marks were discarded during the run, so reclaim may not show",)
        return ()

    def strangers(self, n_mapped: int) -> tuple[str, ...]:
        """A reason if another process has read this mapping, such as a debugger; empty otherwise.

        What it reads gets an entry in our page table, but the fault is counted as its own.

        Args:
            n_mapped: pages that are mapped now, each of which took a fault of its own.
        Source: mm_account_fault in mm/memory.c of the Linux tree; process_vm_readv(2).
        """
        if self._n_faults is None or self._n_faults >= n_mapped:
            return ()
        return (
            f"{n_mapped:,} pages were mapped with {self._n_faults:,} page faults of this process, "
            f"expected at least one for each; another process read its memory, as a debugger does",
        )

    def _forget_marks(self) -> int:
        """Clear the marks of earlier evictions; returns how many are left.

        The advice that clears marks also drops cached pages, so it is given only for parts of the
        file that have marks and no cached page, unless finding these takes too many queries.
        """
        parts = [(0, n_pages_of(self._n_bytes, mmap.PAGESIZE))]
        n_asked = 0
        while parts:
            first, stop = parts.pop()
            offset, length = first * mmap.PAGESIZE, (stop - first) * mmap.PAGESIZE
            found = self._ask(offset, length)
            n_asked += 1
            if not found.evicted:
                continue
            if found.cached and stop - first > 1 and n_asked < _MOST_QUESTIONS:
                middle = (first + stop) // 2
                parts += [(middle, stop), (first, middle)]
            else:
                self._drop(offset, length)
        left = self._ask(0, self._n_bytes).evicted
        if left:  # a large folio may cross the edge of a part
            self._drop(0, 0)
            left = self._ask(0, self._n_bytes).evicted
        return left

    def _ask(self, offset: int, n_bytes: int) -> linux.CacheStat:
        with open_weights(self._path) as file:
            return linux.cachestat(file.fileno(), n_bytes, offset)

    def _drop(self, offset: int, n_bytes: int) -> None:
        """Let the kernel forget a part of the file: cached pages that are not mapped, and marks."""
        with open_weights(self._path) as file:
            os.posix_fadvise(file.fileno(), offset, n_bytes, os.POSIX_FADV_DONTNEED)


class AnonymousReclaim:
    """Whether accessed bits of a private copy can have been cleared between `start` and `doubts`.

    The kernel clears them when it looks for memory to reclaim, and when it is advised to page out;
    it does neither with locked pages.
    """

    def __init__(self, mapped: MappedFile, n_pages: int) -> None:
        self.lock = Lock(mapped, n_pages)

    def start(self) -> None:
        """Start observing."""
        self.lock.close()

    def doubts(self) -> tuple[str, ...]:
        """Why pages may be missing from a count made since `start`; empty if none can be."""
        if not self.lock.refusal:
            return ()
        return (
            f"accessed bits may have been cleared during the run, by reclaim or by advice: "
            f"{self.lock.refusal}",
        )


def may_ask_about(path: Path) -> bool:
    """Whether mincore(2) reports the truth about a file: this user owns it or may write it."""
    if not hasattr(os, "geteuid"):  # not a Unix system, so no mincore
        return False
    stat = path.stat()
    return stat.st_uid == os.geteuid() or os.access(path, os.W_OK)
