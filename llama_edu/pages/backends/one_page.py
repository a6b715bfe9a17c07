"""One page per fault, on a mapping that is cut into memory areas of one page."""

from __future__ import annotations

from llama_edu.errors import MeasurementError
from llama_edu.pages import linux
from llama_edu.pages.backends.present_bits import PresentBits, cut_into_areas

#: Memory areas left for everything else in the process: libraries, threads, large arrays.
_SPARE_AREAS = 2000


class OnePageAreas(PresentBits):
    """Page table entries of a mapping cut into memory areas of one page."""

    name = "one-page"
    sees = "page table entries, one area per page"

    def _prepare(self) -> None:
        allowed = linux.most_memory_areas() - linux.n_memory_areas() - _SPARE_AREAS
        if self.n_pages > allowed:
            raise MeasurementError(
                f"one-page areas: the file has {self.n_pages:,} pages, expected at most "
                f"{max(0, allowed):,} (vm.max_map_count)"
            )
        cut_into_areas(self.mapped.mmap, range(self.n_pages), 1)
