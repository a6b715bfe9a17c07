"""How busy other programs keep the cores of this process while it measures itself.

Source: proc(5), /proc/stat: ticks of user, nice, system, idle, iowait, irq, softirq and steal for
each core. On other systems only the load average is known.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llama_edu.bench.stopwatch import Stopwatch
from llama_edu.matmul.cores import cores
from llama_edu.table import Rows

#: The machine counts as busy when other programs use more than this share of our cores.
BUSY_SHARE = 0.1

#: Where that is not known: when the load average is more than this share of our cores.
BUSY_LOAD = 0.5

_STAT = Path("/proc/stat")
#: Columns of a line of /proc/stat in which a core is at work, or at work for another machine.
_AT_WORK = (1, 2, 3, 6, 7, 8)


@dataclass(frozen=True)
class OtherPrograms(Rows):
    """What else the machine did during a measurement.

    Attributes:
        n_cores: that this process may run on.
        load_average: of the last minute before the start: programs that ran or wanted to, this one
            included; None where the system does not say.
        cores_used: of these cores by other programs meanwhile, and by other guests of the same
            host; None where the system does not say. Processes that this one started are others
            until they have ended and been waited for.
    """

    n_cores: int
    load_average: float | None
    cores_used: float | None

    @property
    def are_busy(self) -> bool:
        """Whether they took so much that measured times are longer than on an idle machine."""
        if self.cores_used is not None:
            return self.cores_used > BUSY_SHARE * self.n_cores
        return self.load_average is not None and self.load_average > BUSY_LOAD * self.n_cores

    def __str__(self) -> str:
        load, used = self.load_average, self.cores_used
        return (
            f"load average {'unknown' if load is None else f'{load:.2f}'} before the start; other "
            f"programs used {'an unknown part' if used is None else f'{used:.2f}'} of "
            f"{self.n_cores} cores meanwhile"
        )


class OtherProgramsWatch:
    """Watches from the moment it is made."""

    def __init__(self) -> None:
        self._load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._stopwatch, self._at_work_s = Stopwatch(), _at_work_s()
        self._children_s = _children_s()

    def seen(self) -> OtherPrograms:
        """What other programs did since then."""
        spent, at_work_s = self._stopwatch.spent(), _at_work_s()
        cores_used = None
        if at_work_s is not None and self._at_work_s is not None and spent.wall_s > 0:
            ours_s = spent.cpu_s + _children_s() - self._children_s
            others_s = at_work_s - self._at_work_s - ours_s
            cores_used = max(0.0, others_s / spent.wall_s)
        return OtherPrograms(cores().usable, self._load_average, cores_used)


def _children_s() -> float:
    """CPU seconds of all processes that this one started, and waited for after they had ended."""
    times = os.times()
    return times.children_user + times.children_system


def _at_work_s() -> float | None:
    """Seconds that the cores of this process have worked for any program since the system began."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    try:
        lines = [line.split() for line in _STAT.read_text("ascii").splitlines()]
        ours = [line for line in lines if line and line[0] in names]
        ticks = sum(int(line[column]) for line in ours for column in _AT_WORK)
    except (OSError, ValueError, IndexError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK") if len(ours) == len(names) else None
