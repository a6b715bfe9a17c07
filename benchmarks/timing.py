"""Timing that survives a noisy machine: everything in turn, several rounds, medians and ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Fewer rounds than this say nothing about spread.
ROUNDS = 5


@dataclass(frozen=True)
class Timing:
    """Seconds of one contender, one number per round."""

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle round."""
        return statistics.median(self.seconds)

    def ratio_to(self, other: Timing) -> tuple[float, float, float]:
        """How many times as fast as `other`: median, least and most over pairs of one round."""
        ratios = [b / a for a, b in zip(self.seconds, other.seconds, strict=True)]
        return statistics.median(ratios), min(ratios), max(ratios)


def interleave(
    contenders: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, Timing]:
    """Run all contenders in turn, A B C A B C ..., after one round that is not counted.

    A contender may return its own seconds as a float, where only part of the call should count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            own: object = run()
            elapsed = own if isinstance(own, float) else time.perf_counter() - start
            own = None  # what a contender returned is freed here, not in the next one's time
            if number > 0:
                seconds[name].append(elapsed)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def show_ratio(ratio: tuple[float, float, float]) -> str:
    """A ratio with its spread: "0.92 (0.88 to 0.95)"."""
    middle, least, most = ratio
    return f"{middle:.2f} ({least:.2f} to {most:.2f})"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
