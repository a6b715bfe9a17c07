"""Fault counters alone: the backend of last resort, and the 2023 way of looking."""

from __future__ import annotations

import mmap
from pathlib import Path

from llama_edu.files.mapped import MappedFile
from llama_edu.pages.backends.base import Backend, Reading


class FaultsOnly(Backend):
    """Sees no pages: the fallback where nothing better is allowed, and the 2023 way of looking."""

    name = "faults"
    sees = "fault counters only, no pages"
    effect_on_faults = "this mapping is plain, so these are the faults that any program would have"

    def __init__(self, path: Path) -> None:
        self.mapped = MappedFile(path, private=True)

    def arm(self) -> None:
        """Drop the page table entries, where that can be done, so that faults happen again."""
        from llama_edu.pages import linux

        if hasattr(mmap, "MADV_DONTNEED"):
            linux.advise(self.mapped.mmap, "MADV_DONTNEED")

    def read(self) -> Reading:
        """No pages."""
        return Reading(None, notes=("fault counters cannot tell which pages were touched",))
