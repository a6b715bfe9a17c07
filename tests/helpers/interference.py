"""What other programs can do to the page tables of a process that is being measured.

Each kind is done by another process, between two reads of the measured one. `Outside.do` says
whether the kernel obeyed; a kind that needs root or a setting of the kernel is refused elsewhere.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys

_MADV = {"cold": 20, "page out": 21, "willneed": 3, "collapse": 25}

#: What `Outside.do` can do.
KINDS = (
    "clear_refs 1", "clear_refs 2", "clear_refs 3", "clear_refs 4",
    *_MADV, "compaction", "same-page merging", "memory block offline", "foreign reads",
)  # fmt: skip

#: One line of tab-separated words after another: kind, address, length, advice; answers 0 or 1.
#: Source: proc(5), process_madvise(2), process_vm_readv(2); ksm.rst and memory-hotplug.rst in
#: Documentation/admin-guide/mm of the Linux tree.
_OUTSIDE = """
import ctypes, glob, random, sys, time
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
pidfd = libc.syscall(434, pid, 0)
class Range(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("length", ctypes.c_size_t)]
def write(path, text):
    with open(path, "w") as file:
        file.write(text)
def read(path):
    with open(path) as file:
        return file.read().strip()
def do(kind, address, length, advice):
    if kind.startswith("clear_refs"):
        write(f"/proc/{pid}/clear_refs", kind[-1])
    elif kind == "compaction":
        write("/proc/sys/vm/compact_memory", "1")
    elif kind == "same-page merging":
        ksm = "/sys/kernel/mm/ksm/"
        before = read(ksm + "run"), read(ksm + "pages_to_scan"), read(ksm + "sleep_millisecs")
        try:
            write(ksm + "pages_to_scan", "100000")
            write(ksm + "sleep_millisecs", "1")
            write(ksm + "run", "1")
            time.sleep(0.05)
        finally:
            write(ksm + "sleep_millisecs", before[2])
            write(ksm + "pages_to_scan", before[1])
            write(ksm + "run", before[0])
    elif kind == "memory block offline":
        blocks = glob.glob("/sys/devices/system/memory/memory*/state")
        for path in random.sample(blocks, len(blocks))[:8]:
            try:
                write(path, "offline")
            except OSError:
                continue
            write(path, "online")
            return True
        return False
    elif kind == "foreign reads":
        buffer = ctypes.create_string_buffer(length)
        own, other = Range(ctypes.addressof(buffer), length), Range(address, length)
        return libc.process_vm_readv(pid, ctypes.byref(own), 1, ctypes.byref(other), 1, 0) > 0
    else:
        at = ctypes.byref(Range(address, length))
        return libc.syscall(440, pidfd, at, 1, int(advice), 0) > 0
    return True
for line in sys.stdin:
    kind, address, length, advice = line.rstrip("\\n").split("\\t")
    try:
        done = do(kind, int(address), int(length), advice)
    except OSError:
        done = False
    print(int(done), flush=True)
"""


class Outside:
    """Another process that does such things to this one."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _OUTSIDE, str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def do(self, kind: str, address: int, n_pages: int) -> bool:
        """Do it to these pages, or to the whole process or machine; whether the kernel obeyed."""
        assert self._child.stdin and self._child.stdout
        line = kind, str(address), str(n_pages * mmap.PAGESIZE), str(_MADV.get(kind, 0))
        print(*line, sep="\t", file=self._child.stdin, flush=True)
        return self._child.stdout.readline() == "1\n"

    def close(self) -> None:
        """End the other process."""
        self._child.communicate()
