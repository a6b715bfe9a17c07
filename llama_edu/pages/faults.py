"""Page faults: how often the processor had to ask the kernel for a page.

A fault is not a page. One fault on a cached file maps the 16 pages around it, or a whole large
folio; a fault on new heap memory counts as well; a major fault (one that waited for the disk) can
bring in megabytes by read-ahead. Faults times the page size is therefore not an amount of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llama_edu.table import Rows


@dataclass(frozen=True)
class FaultCounts(Rows):
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
    """Faults of all threads of this process since it started, or None if they are not counted.

    Source: getrusage(2), ru_minflt and ru_majflt.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return FaultCounts(usage.ru_minflt, usage.ru_majflt)


def thread_faults() -> FaultCounts | None:
    """Faults of the calling thread alone, or None if the system does not report them (macOS)."""
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
        source: returns the counts so far; a test may pass its own.

    `counts` is None on a machine that does not count faults, and before the block has ended.
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
