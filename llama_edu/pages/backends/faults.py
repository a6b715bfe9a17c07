"""Fault counters alone: the backend of last resort, and the method of 2023."""

from __future__ import annotations

import mmap
from pathlib import Path

from llama_edu.files.mapped import MappedFile
from llama_edu.pages.backends.base import Backend, Reading


class FaultsOnly(Backend):
    """Observes no pages: the fallback if nothing better is allowed, and the method of 2023."""

    name = "faults"
    sees = "fault counters only, no pages"
    effect_on_faults = ""  # a plain mapping: any program would have these faults

    def __init__(self, path: Path) -> None:
        self.mapped = MappedFile(path, private=True)

    def arm(self) -> None:
        """Drop the page table entries, where that is possible, so that faults happen again."""
        from llama_edu.pages import linux

        if hasattr(mmap, "MADV_DONTNEED"):
            linux.advise(self.mapped.mmap, "MADV_DONTNEED")

    def read(self) -> Reading:
        """No pages."""
        return Reading(None, notes=("fault counters cannot tell which pages were touched",))
