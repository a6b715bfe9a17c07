"""What the kernel says of this process: its memory of its own, and what it read from a disk."""

from __future__ import annotations

import re
from pathlib import Path


def memory_without_file(*, shared: bool = False) -> int | None:
    """Bytes of this process that no file backs, None if unknown; no page of the page cache counts.

    Args:
        shared: count anonymous memory that was mapped to be shared with others, too.
    Source: proc(5), status, RssAnon and RssShmem.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    names = "RssAnon|RssShmem" if shared else "RssAnon"
    found = re.findall(rf"^(?:{names}):\s+(\d+) kB", status, re.MULTILINE)
    return sum(map(int, found)) * 1024 if found else None


def bytes_from_disk() -> int | None:
    """Bytes that this process caused to be read from a disk so far, None if unknown.

    Read-ahead counts for the process that caused it. Source: proc(5), io, read_bytes.
    """
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes")), None)
