"""Page faults: how often the processor had to ask the kernel for a page.

A fault is not a page. One fault on a file that is cached maps the 16 pages around it, or a whole
large folio; a fault on new heap memory counts as well; a major fault (one that waited for the disk)
can bring in megabytes by read-ahead. Multiplying faults by the page size gives no amount of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class FaultCounts:
    """Faults so far, or between two moments.

    Attributes:
        minor: faults that found the page in memory.
        major: faults that waited for the disk.
    """

    minor: int
    major: int

    @property
    def total(self) -> int:
        """Faults of both kinds."""
        return self.minor + self.major

    def __sub__(self, earlier: FaultCounts) -> FaultCounts:
        return FaultCounts(self.minor - earlier.minor, self.major - earlier.major)

    def __str__(self) -> str:
        return f"{self.minor:,} minor + {self.major:,} major"


def process_faults() -> FaultCounts | None:
    """Faults of this process since it began, all threads, or None where they are not counted.

    Source: getrusage(2), ru_minflt and ru_majflt.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return FaultCounts(usage.ru_minflt, usage.ru_majflt)


def thread_faults() -> FaultCounts | None:
    """Faults of the calling thread alone, or None where the system does not tell (macOS)."""
    try:
        import resource
    except ImportError:
        return None
    who = getattr(resource, "RUSAGE_THREAD", None)
    if who is None:
        return None
    usage = resource.getrusage(who)
    return FaultCounts(usage.ru_minflt, usage.ru_majflt)


class FaultCounter:
    """Counts the faults of a block: `with FaultCounter() as counter: ...`, then `counter.counts`.

    Args:
        source: returns the counts so far; `process_faults` unless a test brings its own.

    `counts` is None where the machine does not count, and before the block has ended.
    """

    def __init__(self, source: Callable[[], FaultCounts | None] = process_faults) -> None:
        self._source = source
        self.counts: FaultCounts | None = None

    def __enter__(self) -> FaultCounter:
        self.counts = None
        self._before = self._source()
        return self

    def __exit__(self, *exc: object) -> None:
        now = self._source()
        if now is not None and self._before is not None:
            self.counts = now - self._before
