"""Wall time and CPU time: how long something took, and how long the processor worked for it."""

from __future__ import annotations

import time
from typing import NamedTuple


class Spent(NamedTuple):
    """Seconds that passed, and CPU seconds that all threads of this process used in them.

    A thread that waits for work in a loop uses the processor: it counts.
    """

    wall_s: float
    cpu_s: float


class Stopwatch:
    """Runs from the moment it is made."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def spent(self) -> Spent:
        """What was spent since then; it goes on running."""
        return Spent(time.perf_counter() - self._wall_s, time.process_time() - self._cpu_s)
