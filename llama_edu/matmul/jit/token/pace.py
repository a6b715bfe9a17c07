"""How many threads a token is worth: all of them, unless one alone is faster at the moment.

On a machine where other programs run, threads that work together wait for whoever the system does
not let run. That shows as long waits; then one thread alone is tried, and the quicker way taken.
Later the other way is tried again, each time after a longer while.
"""

from __future__ import annotations

from collections import deque

#: Tokens whose mean time is compared, and whose waits count.
_RECENT = 8
#: Tokens of a trial.
_TRIAL = 4
#: Tokens between two trials: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 16, 512


class Pace:
    """The number of threads for the next token, from the times of the last ones.

    Attributes:
        threads: for the next token.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.threads = most
        self._usual = most
        self._seconds: deque[float] = deque(maxlen=_RECENT)
        self._waits: deque[int] = deque(maxlen=_RECENT)
        self._trial: list[float] = []
        self._pause, self._since = _FIRST_PAUSE, _FIRST_PAUSE - _RECENT

    def record(self, seconds: float, long_waits: int) -> None:
        """What the last token took, and how often a thread waited long in it."""
        if self._most == 1:
            return
        if self.threads != self._usual:
            self._try_on(seconds)
            return
        self._seconds.append(seconds)
        self._waits.append(long_waits)
        self._since += 1
        is_due = self._since >= self._pause and len(self._seconds) == _RECENT
        if is_due and (self._usual == 1 or sum(n > 0 for n in self._waits) > 1):
            self.threads = 1 if self._usual > 1 else self._most

    def _try_on(self, seconds: float) -> None:
        """A token of a trial; the last one decides."""
        self._trial.append(seconds)
        usual = sum(self._seconds) / len(self._seconds)
        trial = sum(self._trial) / len(self._trial)
        if len(self._trial) < _TRIAL and seconds < 3 * usual:
            return
        if trial < 0.95 * usual:
            self._usual, self._pause = self.threads, _FIRST_PAUSE
            self._seconds.clear()
            self._seconds.extend(self._trial)
            self._waits.clear()
        else:
            self.threads = self._usual
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._trial, self._since = [], 0
