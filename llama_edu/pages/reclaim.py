"""Watching for reclaim: whether the kernel took pages back while we were counting.

A page that was read and then taken back looks as if it had never been read. Under pressure every
instrument that reads page tables counts too few and shows nothing unusual, so it must be asked
separately, and where the system does not say, the count is a lower bound.
"""

from __future__ import annotations

import os
from pathlib import Path

from llama_edu.errors import MeasurementError
from llama_edu.files.mapped import open_weights
from llama_edu.pages import linux


class FileReclaim:
    """Whether pages of this file were thrown out of memory between `start` and `doubts`.

    Two witnesses. `pgsteal_file` counts every file page reclaimed on the machine, in every control
    group; if it stands still nothing was lost. If it moved, `cachestat` tells whether this file was
    hit, provided that no old eviction mark was there at the start (marks come and go) and no marks
    were thrown away meanwhile (`workingset_nodereclaim`).
    Source: mm/vmscan.c, mm/workingset.c and cachestat in mm/filemap.c of the Linux tree.
    """

    def __init__(self, path: Path, n_bytes: int) -> None:
        self._path = path
        self._n_bytes = n_bytes

    def start(self) -> None:
        """Begin watching."""
        self._counters = linux.vm_counters()
        self._marks = self._eviction_marks()

    def doubts(self) -> tuple[str, ...]:
        """Why pages may be missing from a count made since `start`; empty when none can be."""
        before, now = self._counters, linux.vm_counters()
        if "pgsteal_file" in now and now["pgsteal_file"] == before.get("pgsteal_file"):
            return ()
        marks = self._eviction_marks()
        if marks is None:
            if "pgsteal_file" not in now:
                return ("nothing on this system tells whether memory was reclaimed",)
            n_stolen = now["pgsteal_file"] - before["pgsteal_file"]
            return (
                f"{n_stolen:,} file pages were reclaimed on this machine during the run, and this "
                f"user may not ask whether this file was hit",
            )
        if marks:
            if self._marks:
                return (
                    f"memory was reclaimed during the run, and {self._marks:,} pages of the file "
                    f"were marked as evicted before it, so a loss cannot be told from an old mark; "
                    f"evict the file and record again",
                )
            return (f"{marks:,} pages of the file were reclaimed during the run",)
        forgotten = "workingset_nodereclaim"
        if self._marks or now.get(forgotten) != before.get(forgotten):
            return ("memory was reclaimed during the run, and eviction marks were thrown away",)
        return ()

    def _eviction_marks(self) -> int | None:
        try:
            with open_weights(self._path) as file:
                return linux.cachestat(file.fileno(), self._n_bytes).evicted
        except MeasurementError:
            return None


class AnonymousReclaim:
    """Whether the kernel looked at, or took, memory pages between `start` and `doubts`.

    For accessed bits it is enough that reclaim looked: looking clears the bit.
    """

    def start(self) -> None:
        """Begin watching."""
        self._before = self._scanned()

    def doubts(self) -> tuple[str, ...]:
        """Why pages may be missing from a count made since `start`; empty when none can be."""
        now = self._scanned()
        if now is None or self._before is None:
            return ("nothing on this system tells whether memory was reclaimed",)
        if now != self._before:
            return (
                f"the kernel scanned {now - self._before:,} pages for reclaim during the run, "
                f"which clears accessed bits",
            )
        return ()

    @staticmethod
    def _scanned() -> int | None:
        counters = linux.vm_counters()
        if "pgscan_anon" not in counters or "pgscan_file" not in counters:
            return None
        return counters["pgscan_anon"] + counters["pgscan_file"]


def may_ask_about(path: Path) -> bool:
    """Whether mincore(2) tells this user the truth about a file: owner, or may write it."""
    if not hasattr(os, "geteuid"):  # no Unix, no mincore
        return False
    stat = path.stat()
    return stat.st_uid == os.geteuid() or os.access(path, os.W_OK)
