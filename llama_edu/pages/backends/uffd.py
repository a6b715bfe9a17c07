"""One page per fault, on a mapping that is registered with userfaultfd (Linux 6.7)."""

from __future__ import annotations

import mmap
import os

from llama_edu.pages import linux
from llama_edu.pages.backends.present_bits import PresentBits


class WriteProtectAsync(PresentBits):
    """Page table entries of a mapping registered with userfaultfd (Linux 6.7)."""

    name = "uffd"
    sees = "page table entries, one per fault (userfaultfd)"

    def _prepare(self) -> None:
        length = self.n_pages * mmap.PAGESIZE
        self._uffd = linux.register_write_protect(self.mapped.address, length)

    def close(self) -> None:
        """End the registration and unmap."""
        if self._uffd >= 0:
            os.close(self._uffd)
            self._uffd = -1
        super().close()
