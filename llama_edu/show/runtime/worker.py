"""Worker: one job at a time on its own thread, for panels, whose buttons must not block.

A click may arrive on any of the kernel's threads, and two clicks may arrive at once. A job never
prints and never makes widgets: what a thread prints does not appear.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llama_edu.errors import LlamaEduError


class Worker:
    """Runs one job at a time and keeps a sentence on why the last one failed.

    Attributes:
        busy: whether a job runs. failure: why the last job failed, or "".
        stopping: set by stop(); a job looks at it between two steps.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        """Nothing runs yet.

        Args:
            changed: called at the beginning and at the end of every job, on the job's thread or
                on the caller's.
        """
        self.busy = False
        self.failure = ""
        self.stopping = threading.Event()
        self.thread: threading.Thread | None = None
        self._changed = changed
        self._lock = threading.Lock()

    def start(self, job: Callable[[], None], first: Callable[[], None] | None = None) -> bool:
        """Run a job in the background; while another runs, return False and do nothing.

        Args:
            first: called in this thread, before `changed` and before the job.
        """
        if not self._take(first):
            return False
        self.thread = threading.Thread(target=self._work, args=(job,), daemon=True)
        self.thread.start()
        return True

    def stop(self) -> None:
        """Ask the running job to end before its next step."""
        self.stopping.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the background job; False if `timeout` seconds were too few."""
        thread = self.thread
        if thread and thread is not threading.current_thread():
            thread.join(timeout)
        return not (thread and thread.is_alive())

    @contextmanager
    def foreground(self, first: Callable[[], None] | None = None) -> Iterator[bool]:
        """Claim the worker for a job in the calling thread; yields False while another runs.

        An error is kept in `failure`, as for a background job, and also raised.
        """
        if not self._take(first):
            yield False
            return
        try:
            yield True
        except Exception as error:
            self.failure = sentence(error)
            raise
        finally:
            self._give_back()

    def _take(self, first: Callable[[], None] | None) -> bool:
        with self._lock:
            if self.busy:
                return False
            self.busy, self.failure = True, ""
            self.stopping.clear()
            if first:
                first()
        self._changed()
        return True

    def _give_back(self) -> None:
        with self._lock:
            self.busy = False
        self._changed()

    def _work(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # an error in a thread appears nowhere else
            self.failure = sentence(error)
        finally:
            self._give_back()


def sentence(error: Exception) -> str:
    """An error as a sentence: this package's errors are sentences, others get their type's name."""
    if isinstance(error, LlamaEduError):
        return str(error)
    return f"{type(error).__name__}: {error}"
