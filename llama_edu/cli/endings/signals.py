"""SIGTERM and SIGHUP end the program as Ctrl+C does: what was begun is taken back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Ended(BaseException):
    """A signal that ends the process, on its way out through everything that cleans up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def signals_clean_up() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the block, as SIGINT does, where they would end the process.

    Raises:
        Ended: one of the two came.
    """

    def unwind(number: int, frame: object) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)  # cleaning up is not interrupted
        raise Ended(number)

    before = {}
    try:
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # nohup ignores SIGHUP; a notebook that calls main() may have a handler of its own
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                with suppress(ValueError):  # only the main thread may
                    before[number] = signal.signal(number, unwind)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
