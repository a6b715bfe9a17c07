"""Taking pages back from a process, in the two ways in which a kernel is advised to."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys

MADV_PAGEOUT = 21

#: Advises the kernel about the memory of another process; one line "address length" after another.
#: Source: pidfd_open(2), process_madvise(2).
_OUTSIDE = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
pidfd = libc.syscall(434, int(sys.argv[1]), 0)
class Range(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("length", ctypes.c_size_t)]
for line in sys.stdin:
    address, length = map(int, line.split())
    done = libc.syscall(440, pidfd, ctypes.byref(Range(address, length)), 1, 21, 0)
    print(done if done >= 0 else -ctypes.get_errno(), flush=True)
"""


def from_inside(mapping: mmap.mmap, first_page: int, n_pages: int) -> bool:
    """MADV_PAGEOUT by the process itself; whether the kernel listened."""
    start = first_page * mmap.PAGESIZE
    try:
        mapping.madvise(MADV_PAGEOUT, start, min(n_pages * mmap.PAGESIZE, len(mapping) - start))
    except OSError:  # locked pages
        return False
    return True


class FromOutside:
    """Another process that takes pages of this one back, by process_madvise."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _OUTSIDE, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def page_out(self, address: int, n_pages: int) -> bool:
        """Take these pages back; whether the kernel listened."""
        assert self._child.stdin and self._child.stdout
        print(address, n_pages * mmap.PAGESIZE, file=self._child.stdin, flush=True)
        return int(self._child.stdout.readline()) > 0

    def close(self) -> None:
        """End the other process."""
        self._child.communicate()
