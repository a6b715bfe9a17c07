"""Which of several ways of the same work is the quickest at present, found by doing the work."""

from __future__ import annotations

#: After so many calls another way is tried again: other programs come and go.
_TRY_AGAIN = 64

#: How much of a new speed counts, for the way that is being used.
_NEW = 0.3


class QuickerWay:
    """Remembers how fast each way was, and chooses.

    All ways must give the same result. Several threads may share one: a choice may then be wrong
    once.

    Args:
        n_ways: ways have the numbers 0 to n_ways - 1, and are first tried in this order.
    """

    def __init__(self, n_ways: int) -> None:
        self._speeds = [0.0] * n_ways
        self._n_calls = 0

    def choose(self) -> int:
        """The way for the next piece of work."""
        self._n_calls += 1
        if 0.0 in self._speeds:
            return self._speeds.index(0.0)
        again, is_now = divmod(self._n_calls, _TRY_AGAIN)
        return self.best if is_now else again % len(self._speeds)

    @property
    def best(self) -> int:
        """The way that was the quickest, as far as is known."""
        return self._speeds.index(max(self._speeds))

    def record(self, way: int, work: float, seconds: float) -> None:
        """Learn how long a piece of work took this way; work in any unit, above 0."""
        speed = work / max(seconds, 1e-9)
        if way == self.best and self._speeds[way]:
            speed = self._speeds[way] + _NEW * (speed - self._speeds[way])
        self._speeds[way] = speed
