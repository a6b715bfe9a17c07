"""How many threads a token is worth: all of them, unless one alone is faster at the moment.

On a machine where other programs run, threads that work together wait for the one that the system
does not let run. That shows as long waits; one thread alone is then tried, and the quicker way
kept. Later the other way is tried again, each time after a longer while.
"""

from __future__ import annotations

from collections import deque

#: What is compared: the mean of at least so many tokens, and of so many seconds of them.
#: The system lets programs take turns of some milliseconds, and many of them make a mean.
_TOKENS, _SECONDS = 8, 0.1
#: With waits in a smaller share of the tokens, nothing is tried: a thread wakes late now and then.
_DISTURBED = 0.2
#: Seconds of tokens between two trials: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0


class Pace:
    """The number of threads for the next token, from the times of the last ones.

    Attributes:
        threads: for the next token.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.threads = self._usual = most
        self._recent = _Recent()
        self._trial = _Recent()
        self._pause, self._since = _FIRST_PAUSE, _FIRST_PAUSE

    def record(self, seconds: float, long_waits: int) -> None:
        """What the last token took, and how often a thread waited long in it."""
        if self._most == 1:
            return
        if self.threads != self._usual:
            self._trial.add(seconds, 0)
            if self._trial.is_enough or self._trial.total > 3 * self._recent.total:
                self._decide()
            return
        self._recent.add(seconds, long_waits)
        self._since += seconds
        is_due = self._since >= self._pause and self._recent.is_enough
        if is_due and (self._usual == 1 or self._recent.waited > _DISTURBED):
            self.threads = 1 if self._usual > 1 else self._most

    def _decide(self) -> None:
        """End a trial."""
        if self._trial.mean < 0.95 * self._recent.mean:
            self._usual, self._recent = self.threads, self._trial
            self._pause = _FIRST_PAUSE
        else:
            self.threads = self._usual
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._trial, self._since = _Recent(), 0.0


class _Recent:
    """The last tokens, as many as are compared."""

    def __init__(self) -> None:
        self._tokens: deque[tuple[float, int]] = deque()
        self.total = 0.0

    def add(self, seconds: float, waits: int) -> None:
        """One more; the first ones go as soon as the others are enough."""
        self._tokens.append((seconds, waits))
        self.total += seconds
        while len(self._tokens) > _TOKENS and self.total - self._tokens[0][0] >= _SECONDS:
            self.total -= self._tokens.popleft()[0]

    @property
    def is_enough(self) -> bool:
        """Whether there are enough to compare."""
        return len(self._tokens) >= _TOKENS and self.total >= _SECONDS

    @property
    def mean(self) -> float:
        """Seconds of a token."""
        return self.total / len(self._tokens)

    @property
    def waited(self) -> float:
        """In what share of them a thread waited long."""
        return sum(waits > 0 for _, waits in self._tokens) / len(self._tokens)
