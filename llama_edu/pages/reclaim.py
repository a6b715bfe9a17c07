"""Reclaim: whether the kernel took pages back while we were counting, or could not.

A page that was read and then taken back looks as if it had never been read. Every instrument that
reads page tables then counts too few and shows nothing unusual. It need not be memory pressure: any
process of the same user, a memory-saving daemon or a line of the program itself can advise the
kernel to page out (MADV_PAGEOUT), and a page can be unmapped without leaving the page cache.

The cure is to lock each page when it is touched. Where that is not allowed there are only
witnesses, and where they cannot exclude a loss the count is a lower bound.
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

#: Questions about parts of a file that are asked in the search for old eviction marks; each takes
#: about 0.1 ms.
_MOST_QUESTIONS = 400

#: Of the memory that is left; a locked file that does not fit would end the process.
_LOCKED_FRACTION = 0.75


class Lock:
    """Keeps the pages of one mapping in memory from their first touch on, where that is allowed.

    Attributes:
        refusal: why it is not, or "".
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
        """Lock what is touched from now on; where that is refused, `refusal` says why."""
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

    Where its pages are locked, none can. Otherwise there are three witnesses. A page that is thrown
    out of the page cache leaves a mark there, which `cachestat` counts as evicted; `start` makes
    the kernel forget older marks. Marks are thrown away under pressure, which the machine's
    `workingset_nodereclaim` counts. And a page that was unmapped and stays cached leaves no mark:
    it shows only as a fault that left no page behind. So a count is certain only if every fault of
    the process is accounted for by a page that is mapped now.
    Source: mlock2(2); mm/vmscan.c, mm/workingset.c and cachestat in mm/filemap.c of the Linux tree.
    """

    def __init__(self, path: Path, mapped: MappedFile) -> None:
        self._path = path
        self._n_bytes = mapped.n_bytes
        self.lock = Lock(mapped, n_pages_of(mapped.n_bytes, mmap.PAGESIZE))

    def start(self) -> None:
        """Begin watching. Pages whose eviction marks must go are read from the disk next time."""
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
        """End watching, before anything else is done that could fault."""
        now = process_faults()
        self._n_faults: int | None = None
        if now is not None and self._faults is not None:
            self._n_faults = (now - self._faults).total
        self._marks = 0
        if self.lock.refusal and not self._refusal:
            self._marks = self._ask(0, self._n_bytes).evicted
        self._pruned_now = linux.vm_counters().get("workingset_nodereclaim")

    def losses(self) -> tuple[str, ...]:
        """What is known to have been taken back between `start` and `stop`; empty if nothing is."""
        if self._marks and not self._old_marks:
            return (f"{self._marks:,} pages of the file were reclaimed during the run",)
        return ()

    def doubts(self, n_mapped: int | None = None) -> tuple[str, ...]:
        """Why pages may have been taken back unseen between `start` and `stop`; empty if none can.

        Args:
            n_mapped: pages that are mapped now, where each was mapped by a fault of its own.
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
            return ("eviction marks were thrown away during the run, so reclaim may not show",)
        return ()

    def _forget_marks(self) -> int:
        """Clear the marks of earlier evictions; how many are left.

        The advice that clears marks also drops cached pages, so it is given for parts of the file
        that have marks and no cached page, as far as these are found with few questions.
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
        if left:  # a large folio may lie across the edges of a part
            self._drop(0, 0)
            left = self._ask(0, self._n_bytes).evicted
        return left

    def _ask(self, offset: int, n_bytes: int) -> linux.CacheStat:
        with open_weights(self._path) as file:
            return linux.cachestat(file.fileno(), n_bytes, offset)

    def _drop(self, offset: int, n_bytes: int) -> None:
        """Let the kernel forget a part of the file: cached pages that nothing maps, and marks."""
        with open_weights(self._path) as file:
            os.posix_fadvise(file.fileno(), offset, n_bytes, os.POSIX_FADV_DONTNEED)


class AnonymousReclaim:
    """Whether accessed bits of a private copy can have been cleared between `start` and `doubts`.

    The kernel clears them when it looks for memory to take back, and when it is advised to page
    out; it does neither with locked pages.
    """

    def __init__(self, mapped: MappedFile, n_pages: int) -> None:
        self.lock = Lock(mapped, n_pages)

    def start(self) -> None:
        """Begin watching."""
        self.lock.close()

    def doubts(self) -> tuple[str, ...]:
        """Why pages may be missing from a count made since `start`; empty when none can be."""
        if not self.lock.refusal:
            return ()
        return (
            f"accessed bits may have been cleared during the run, by reclaim or by advice: "
            f"{self.lock.refusal}",
        )


def may_ask_about(path: Path) -> bool:
    """Whether mincore(2) tells this user the truth about a file: owner, or may write it."""
    if not hasattr(os, "geteuid"):  # no Unix, no mincore
        return False
    stat = path.stat()
    return stat.st_uid == os.geteuid() or os.access(path, os.W_OK)
