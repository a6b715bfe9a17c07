"""Queries to the Linux kernel about pages, one function per query.

Importing this module makes no query, so it can be imported on any system. A function raises
MeasurementError if the system does not have the query or forbids it, unless its docstring gives
another answer for that case.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import platform
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.errors import MeasurementError

#: Bits of one 64-bit entry of /proc/self/pagemap. A page that is being moved to another place in
#: memory shows as "swapped" for that moment and counts as present.
#: Source: Documentation/admin-guide/mm/pagemap.rst in the Linux tree.
_PRESENT_OR_SWAPPED = np.uint64(0b11 << 62)

#: System call numbers by machine. Source: arch/x86/entry/syscalls/syscall_64.tbl and
#: include/uapi/asm-generic/unistd.h in the Linux tree.
_SYSCALLS = {
    "userfaultfd": {"x86_64": 323, "aarch64": 282, "riscv64": 282},
    "perf_event_open": {"x86_64": 298, "aarch64": 241, "riscv64": 241},
    "cachestat": {"x86_64": 451, "aarch64": 451, "riscv64": 451},
    "mlock2": {"x86_64": 325, "aarch64": 284, "riscv64": 284},
}

#: userfaultfd(2), ioctl_userfaultfd(2) and include/uapi/linux/userfaultfd.h.
_UFFD_USER_MODE_ONLY = 1
_UFFD_API = 0xAA
_UFFD_FEATURE_WP_ASYNC = 1 << 15
_UFFDIO_API = 0xC018AA3F
_UFFDIO_REGISTER = 0xC020AA00
_UFFDIO_REGISTER_MODE_WP = 1 << 1


#: Source: include/uapi/asm-generic/mman-common.h.
_MLOCK_ONFAULT = 1


@dataclass(frozen=True)
class CacheStat:
    """Pages of a file in the page cache. Source: cachestat in include/uapi/linux/mman.h.

    `evicted` counts pages that were cached, were evicted and left a mark.
    """

    cached: int
    dirty: int
    writeback: int
    evicted: int
    recently_evicted: int


class KernelRefusal(MeasurementError):
    """The kernel returned an error; `code` is its number, for example errno.EPERM."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


@functools.cache
def _libc() -> ctypes.CDLL:
    if os.name != "posix":
        raise MeasurementError(
            f"{platform.system()}: has no such system calls, expected Linux; only a computed page "
            f"set is available here"
        )
    return ctypes.CDLL(None, use_errno=True)


def system_call(name: str, *arguments: object) -> int:
    """The result of a Linux system call that libc has no function for."""
    numbers = _SYSCALLS[name]
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in numbers:
        raise MeasurementError(
            f"{name}: not known on {platform.system()} {machine}, expected Linux on "
            f"{' or '.join(numbers)}"
        )
    result = _libc().syscall(ctypes.c_long(numbers[machine]), *arguments)
    if result < 0:
        raise refusal(name, ctypes.get_errno())
    return result


def refusal(what: str, code: int | None, hint: str = "") -> KernelRefusal:
    """The error for a query to which the kernel returned an error number."""
    code = code or 0
    meaning = {
        errno.EPERM: "forbidden to this user, or by the container's system call filter",
        errno.EACCES: "forbidden to this user",
        errno.ENOSYS: "this kernel has no such call",
    }.get(code, os.strerror(code))
    text = f"{what}: {errno.errorcode.get(code, code)}, {meaning}{'; ' + hint if hint else ''}"
    return KernelRefusal(text, code)


def present_pages(address: int, n_pages: int) -> np.ndarray:
    """Which pages of this process's memory have an entry in its page table now.

    Args:
        address: of the first page, a multiple of the page size.
    Returns:
        (n_pages,) bool, a new array. Takes about 16 ns per page.
    Source: /proc/self/pagemap, Documentation/admin-guide/mm/pagemap.rst.
    """
    try:
        # opened each time: after a fork, a file left open would still describe the parent
        fd = os.open("/proc/self/pagemap", os.O_RDONLY)
    except OSError as error:
        raise refusal("/proc/self/pagemap", error.errno) from None
    try:
        wanted = n_pages * 8
        where = address // mmap.PAGESIZE * 8
        parts = []
        while wanted:
            part = os.pread(fd, min(wanted, 1 << 24), where)
            if not part:
                raise MeasurementError("/proc/self/pagemap: ended before the mapping did")
            parts.append(part)
            where += len(part)
            wanted -= len(part)
    finally:
        os.close(fd)
    return (np.frombuffer(b"".join(parts), np.uint64) & _PRESENT_OR_SWAPPED) != 0


def mincore_pages(address: int, n_bytes: int) -> np.ndarray:
    """Which pages mincore(2) reports as resident: in the page cache, read by any process.

    Returns:
        (n_pages,) bool, a new array. All True, wrongly, where this user neither owns nor may write
        the mapped file (Linux since 5.2); the caller must check that first.
    """
    n_pages = -(-n_bytes // mmap.PAGESIZE)
    answer = np.empty(n_pages, np.uint8)
    done = _libc().mincore(
        ctypes.c_void_p(address), ctypes.c_size_t(n_bytes), ctypes.c_void_p(answer.ctypes.data)
    )
    if done != 0:
        raise refusal("mincore", ctypes.get_errno())
    return (answer & 1).astype(bool)


def cachestat(fd: int, n_bytes: int, offset: int = 0) -> CacheStat:
    """Cached and evicted pages of a range of an open file (Linux 6.5).

    Refused to a user who neither owns the file nor may write it (on recent kernels).
    """
    span = (ctypes.c_uint64 * 2)(offset, n_bytes)
    out = (ctypes.c_uint64 * 5)()
    system_call("cachestat", ctypes.c_int(fd), ctypes.byref(span), ctypes.byref(out), 0)
    return CacheStat(*out)


def lock_as_touched(address: int, n_bytes: int) -> None:
    """Let the kernel lock each page of a range into memory when it is first touched (Linux 4.4).

    A locked page is not reclaimed, whichever process asks for that. The whole range counts toward
    the limit on locked memory; if the call is refused, the soft limit is raised to the hard one and
    the call repeated. Raises ImportError, too, on a system without the `resource` module.
    Source: mlock2(2), MLOCK_ONFAULT.
    """
    import resource

    arguments = ctypes.c_void_p(address), ctypes.c_size_t(n_bytes), ctypes.c_int(_MLOCK_ONFAULT)
    try:
        system_call("mlock2", *arguments)
    except KernelRefusal:
        _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
        system_call("mlock2", *arguments)


def unlock(address: int, n_bytes: int) -> None:
    """Undo lock_as_touched; the pages stay until the kernel reclaims them. Source: munlock(2)."""
    if _libc().munlock(ctypes.c_void_p(address), ctypes.c_size_t(n_bytes)) != 0:
        raise refusal("munlock", ctypes.get_errno())


def register_write_protect(address: int, n_bytes: int) -> int:
    """Register memory with userfaultfd for asynchronous write protection; the open descriptor.

    Nothing is ever write-protected and no event is delivered. The purpose is a side effect: in
    registered memory, the kernel maps only one page per fault, not the pages around it
    (`uffd_disable_fault_around` in include/linux/userfaultfd_k.h, Linux 6.7). No interface
    guarantees that, so calibrate before relying on it. Closing the descriptor ends it.
    """
    import fcntl

    fd = system_call("userfaultfd", ctypes.c_int(os.O_CLOEXEC | _UFFD_USER_MODE_ONLY))
    try:
        fcntl.ioctl(fd, _UFFDIO_API, struct.pack("QQQ", _UFFD_API, _UFFD_FEATURE_WP_ASYNC, 0))
        request = struct.pack("QQQQ", address, n_bytes, _UFFDIO_REGISTER_MODE_WP, 0)
        fcntl.ioctl(fd, _UFFDIO_REGISTER, request)
    except OSError as error:
        os.close(fd)
        hint = "asynchronous write protection needs Linux 6.7 and a private mapping"
        raise refusal("userfaultfd", error.errno, hint) from None
    return fd


def advise(mapping: mmap.mmap, name: str, start: int = 0, length: int | None = None) -> None:
    """madvise(2) by the name of the advice, for example "MADV_RANDOM"."""
    extra = {"MADV_PAGEOUT": 21, "MADV_COLD": 20, "MADV_POPULATE_READ": 22}  # newer than Python
    number = getattr(mmap, name, extra.get(name))
    if number is None or not hasattr(mapping, "madvise"):
        raise MeasurementError(f"madvise {name}: not known on {platform.system()}")
    try:
        mapping.madvise(number, start, len(mapping) - start if length is None else length)
    except OSError as error:
        raise refusal(f"madvise {name}", error.errno) from None


def forget_accesses() -> None:
    """Clear the accessed bit of every page of this process. Source: proc(5), clear_refs."""
    try:
        Path("/proc/self/clear_refs").write_text("1")
    except OSError as error:
        raise refusal("/proc/self/clear_refs", error.errno) from None
    # The kernel does not flush the processor's address cache (TLB) here, and an access to an
    # address that is still in it sets no accessed bit. Unmapping 4 MiB at once flushes all of it.
    with mmap.mmap(-1, 4 << 20) as scratch:
        np.frombuffer(scratch, np.uint8)[:] = 1


def area_bytes(field: str, first: int, last: int) -> list[tuple[int, int, int]]:
    """Memory areas that overlap [first, last), in order, with one of the kernel's sums for each.

    Args:
        field: as in proc(5), smaps: "Referenced" (accessed bits), "Rss" (present pages) ...
        first, last: addresses.

    Returns:
        (start address, end address, bytes) per area.
    """
    pattern = rf"^([0-9a-f]+)-([0-9a-f]+) .*?^{field}: +(\d+) kB"
    try:
        text = Path("/proc/self/smaps").read_bytes()
    except OSError as error:
        raise refusal("/proc/self/smaps", error.errno) from None
    areas = []
    for match in re.finditer(pattern.encode(), text, re.MULTILINE | re.DOTALL):
        start, end = int(match[1], 16), int(match[2], 16)
        if start < last and end > first:
            areas.append((start, end, int(match[3]) * 1024))
    return areas


def n_memory_areas() -> int:
    """How many separate memory areas (VMAs) this process has now."""
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError as error:
        raise refusal("/proc/self/maps", error.errno) from None


def most_memory_areas() -> int:
    """How many memory areas a process may have: vm.max_map_count, or its default if unreadable."""
    try:
        return int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return 65530  # the kernel's default


def vm_counters() -> dict[str, int]:
    """The event counters of the whole machine in /proc/vmstat; empty if it cannot be read."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, value in (line.split() for line in lines)}


def available_memory() -> int | None:
    """Bytes that this process can still use without memory pressure, or None if unknown.

    The smallest of what the machine has left and what the control groups (v1 or v2) allow.
    """
    limits = []
    try:
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())
        if found:
            limits.append(int(found[1]) * 1024)
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        groups = []
    for line in groups:
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        v1 = bool(controllers)
        folder = Path("/sys/fs/cgroup/memory" if v1 else "/sys/fs/cgroup") / group.lstrip("/")
        names = ("limit_in_bytes", "usage_in_bytes") if v1 else ("max", "current")
        try:
            limit, usage = ((folder / f"memory.{n}").read_text().strip() for n in names)
        except OSError:
            continue
        if limit != "max":
            limits.append(max(0, int(limit) - int(usage)))
    return min(limits, default=None)


def give_back_freed_memory() -> None:
    """Return the pages of freed arrays, which glibc keeps for later ones, to the system.

    Without it, a new array may reuse pages that the process has had for a long time. On other
    systems this does nothing.
    Source: malloc_trim(3).
    """
    if platform.system() == "Linux" and hasattr(_libc(), "malloc_trim"):
        _libc().malloc_trim(0)
