"""The order of first touches: the address of every page fault, with its time.

perf_event_open(2) can record each fault of a thread in a buffer. On a mapping where every touched
page faults once, this is the path of the computation through the file.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import threading
from pathlib import Path

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.pages import linux

#: struct perf_event_attr in its first version and the constants of include/uapi/linux/perf_event.h.
_ATTRIBUTES = struct.Struct("IIQQQQQIIQ")
_SOFTWARE, _PAGE_FAULTS = 1, 2
_SAMPLE_TID_TIME_ADDR = 0b1110
_DISABLED, _EXCLUDE_KERNEL, _EXCLUDE_HV = 1, 1 << 5, 1 << 6
_ENABLE, _DISABLE = 0x2400, 0x2401
_SAMPLE = 9
_HEAD_AT, _DATA_AT = 1024, 1040
_CLOSE_ON_EXEC = 8

#: Pages of all buffers together, by whether the user is root. The kernel allows a user without
#: privileges 516 KiB. One fault takes 32 bytes.
_BUFFER_PAGES = {False: 128, True: 8192}


class FaultTrace:
    """Records the page faults of all threads of this process in one range of memory.

    Args:
        address: first byte of the range, a multiple of the page size.
        n_pages: its length.

    Threads that are created after `start` are not observed. `start` raises MeasurementError if
    perf_event_open is not permitted (/proc/sys/kernel/perf_event_paranoid, or a container).
    """

    def __init__(self, address: int, n_pages: int) -> None:
        self._address = address
        self._n_pages = n_pages
        self._buffers: list[tuple[int, mmap.mmap]] = []

    def start(self) -> None:
        """Start recording."""
        import fcntl

        try:
            threads = [int(task.name) for task in Path("/proc/self/task").iterdir()]
        except OSError as error:
            raise linux.refusal("/proc/self/task", error.errno) from None
        room, me = _BUFFER_PAGES[os.geteuid() == 0], threading.get_native_id()
        try:
            for thread in threads:
                n_buffer_pages = _buffer_pages(room, len(threads), thread == me)
                fd = _open_counter(thread)
                try:
                    buffer = mmap.mmap(fd, (1 + n_buffer_pages) * mmap.PAGESIZE)
                except OSError as error:
                    os.close(fd)
                    raise linux.refusal("perf_event_open buffer", error.errno) from None
                self._buffers.append((fd, buffer))
        except MeasurementError:
            self._close()
            raise
        for fd, _ in self._buffers:
            fcntl.ioctl(fd, _ENABLE, 0)

    def stop(self) -> None:
        """Stop recording, and keep what was recorded."""
        import fcntl

        events: list[tuple[int, int]] = []
        for fd, buffer in self._buffers:
            fcntl.ioctl(fd, _DISABLE, 0)
            events += _read_buffer(buffer)
        self._close()
        self._events = sorted(events)

    def first_touches(self) -> np.ndarray:
        """(n,) int64 page numbers in the order of their first fault, within the range only.

        Incomplete if a buffer was full, or if a thread was created after `start`.
        """
        addresses = np.array([address for _, address in self._events], np.int64)
        pages = (addresses - self._address) // mmap.PAGESIZE
        pages = pages[(pages >= 0) & (pages < self._n_pages)]
        _, first = np.unique(pages, return_index=True)
        return pages[np.sort(first)]

    def _close(self) -> None:
        for fd, buffer in self._buffers:
            buffer.close()
            os.close(fd)
        self._buffers = []


def _buffer_pages(room: int, n_threads: int, is_own: bool) -> int:
    """The buffer of one thread, a power of two: half of the room for the one that starts.

    It computes, alone or with others; most of a process's threads only wait.
    """
    share = room // 2 if is_own else room // 2 // max(1, n_threads - 1)
    return 1 << max(0, share.bit_length() - 1)


def _open_counter(thread: int) -> int:
    """A stopped counter of one thread's page faults, if allowed including those in system calls."""
    for flags in (_DISABLED | _EXCLUDE_HV, _DISABLED | _EXCLUDE_HV | _EXCLUDE_KERNEL):
        attributes = _ATTRIBUTES.pack(
            _SOFTWARE, _ATTRIBUTES.size, _PAGE_FAULTS, 1, _SAMPLE_TID_TIME_ADDR, 0, flags, 0, 0, 0
        )  # fmt: skip
        try:
            return linux.system_call(
                "perf_event_open",
                ctypes.c_char_p(attributes),
                ctypes.c_int(thread),
                ctypes.c_int(-1),
                ctypes.c_int(-1),
                ctypes.c_ulong(_CLOSE_ON_EXEC),
            )
        except linux.KernelRefusal as error:
            refused = error
    raise refused


def _read_buffer(buffer: mmap.mmap) -> list[tuple[int, int]]:
    """The (time, address) of each fault in a buffer; once it is full, no more are recorded."""
    (head,) = struct.unpack_from("Q", buffer, _HEAD_AT)
    offset, _ = struct.unpack_from("QQ", buffer, _DATA_AT)
    data = buffer[offset : offset + head]
    events, at = [], 0
    while at < len(data):
        kind, _, size = struct.unpack_from("IHH", data, at)
        if kind == _SAMPLE:
            events.append(struct.unpack_from("QQ", data, at + 16))
        at += size
    return events
