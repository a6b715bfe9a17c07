"""Timing that survives a noisy machine: everything in turn, several rounds, medians and ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llama_edu.bench.stopwatch import Spent, Stopwatch

#: With only five, two unlucky rounds can shift the median.
ROUNDS = 9

#: Before each contender. Threads of OpenBLAS keep a core busy for 100 ms after their work is done,
#: those of OpenMP for 10 ms, in case there is more; without a pause they slow down the next one.
PAUSE_S = 0.15

#: How many times as fast: median, least and most.
Ratio = tuple[float, float, float]


@dataclass(frozen=True)
class Timing:
    """Seconds of one contender and CPU seconds of all its threads, one number per round.

    What a contender has other processes do is in its seconds and not in its CPU seconds.
    """

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...] = ()

    @property
    def median_s(self) -> float:
        """The middle round."""
        return statistics.median(self.seconds)

    @property
    def median_cpu_s(self) -> float:
        """The middle round of CPU seconds."""
        return statistics.median(self.cpu_seconds)

    def median_beyond(self, other: Timing) -> float:
        """How many seconds more than `other`, the middle of all rounds."""
        return statistics.median(a - b for a, b in zip(self.seconds, other.seconds, strict=True))

    def ratio_to(self, other: Timing) -> Ratio:
        """How many times as fast as `other`: median, least and most over pairs of one round."""
        ratios = [b / a for a, b in zip(self.seconds, other.seconds, strict=True)]
        return statistics.median(ratios), min(ratios), max(ratios)


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    *,
    pause_s: float = PAUSE_S,
    warm_up: bool = False,
) -> dict[str, Timing]:
    """Run all contenders in turn, A B C A B C ..., after one round that is not counted.

    Args:
        pause_s: before each; 0 where all contenders are one program with different arguments.
        warm_up: run each once more after its pause, not counted: an idle processor needs about
            100 ms to reach its full speed, which is a third of some of these times.

    A contender may return what it Spent itself, where only part of the call should count.
    """
    spent: dict[str, list[Spent]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            time.sleep(pause_s)
            if warm_up:
                run()
            stopwatch = Stopwatch()
            own: object = run()
            counted = own if isinstance(own, Spent) else stopwatch.spent()
            own = None  # what a contender returned is freed here, not in the next one's time
            if number > 0:
                spent[name].append(counted)
    return {
        name: Timing(tuple(one.wall_s for one in rounds), tuple(one.cpu_s for one in rounds))
        for name, rounds in spent.items()
    }


def show_ratio(ratio: Ratio) -> str:
    """A ratio with its spread: "0.92 (0.88 to 0.95)"."""
    middle, least, most = ratio
    return f"{middle:.2f} ({least:.2f} to {most:.2f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
