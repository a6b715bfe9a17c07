"""How many threads BLAS uses, agreed among all computations that run at the moment.

BLAS has its own threads. While each of our threads converts and multiplies its share of a
matrix, BLAS must use only one thread in each of them, or more threads than cores compete. The
setting belongs to the whole process, so concurrent computations must not undo each other's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any


class _Limit:
    """The limits of all computations that run now; BLAS gets the smallest.

    When the last computation ends, each library gets back the setting from before the first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wishes: list[int] = []
        self._before: list[int] = []
        self._now = 0

    def add(self, n: int) -> None:
        """A computation begins that lets BLAS use n threads."""
        with self._lock:
            if not self._wishes:
                self._before = [library.get_num_threads() for library in _libraries()]
                self._now = 0  # the last setting may have been changed by other code since
            self._wishes.append(n)
            self._apply()

    def remove(self, n: int) -> None:
        """A computation that let BLAS use n threads has ended."""
        with self._lock:
            self._wishes.remove(n)
            if self._wishes:
                self._apply()
            else:
                self.restore()
                self._now = 0

    def restore(self) -> None:
        """Give each library back the setting from before the first computation."""
        for library, n in zip(_libraries(), self._before, strict=True):
            _set(library, n)

    def obey(self) -> None:
        """Set the limit in this thread too, in libraries that keep one for each thread."""
        for library in _libraries_of_threads():
            if self._now:
                _set(library, self._now)

    def _apply(self) -> None:
        n = min(self._wishes)
        if n != self._now:
            for library in _libraries():
                _set(library, n)
            self._now = n
        self.obey()


_limit = _Limit()


@contextmanager
def blas_threads(n: int) -> Iterator[None]:
    """Limit BLAS to n threads inside the block; does nothing if threadpoolctl is not installed.

    May be entered from any thread, from several at once, and nested.
    """
    limit = _limit  # a forked child has another one
    limit.add(n)
    try:
        yield
    finally:
        if limit is _limit:
            limit.remove(n)


def obey_blas_threads() -> None:
    """In a thread that helps another one to compute: keep to the limit that holds there.

    A BLAS with OpenMP's threads has a setting for each thread that calls it.
    """
    _limit.obey()


@cache
def can_control_blas() -> bool:
    """Whether setting BLAS's threads takes effect, so that our own threads can use it."""
    libraries = _libraries()
    for library in libraries:
        n_before = library.get_num_threads()
        _set(library, 1)
        obeyed = library.get_num_threads() == 1
        _set(library, n_before)
        if not obeyed:
            return False
    return bool(libraries)


def _set(library: Any, n: int) -> None:
    """Set the number of threads of one library, from any thread.

    threadpoolctl 3.8 lets only the first thread that called it change OpenBLAS, and silently
    ignores all others, unless that thread's claim is cleared.
    """
    if library.get_num_threads() == n:
        return
    library.set_num_threads(n)
    if library.get_num_threads() != n and hasattr(library, "clear_controlling_thread"):
        library.clear_controlling_thread(force=True)
        library.set_num_threads(n)


@cache
def _libraries() -> Sequence[Any]:
    """The BLAS libraries in this process, looked up once; numpy has loaded its own by now."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return ()
    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)


@cache
def _libraries_of_threads() -> Sequence[Any]:
    """Those whose setting belongs to a thread and not to the process."""
    return tuple(x for x in _libraries() if getattr(x, "threading_layer", "") == "openmp")


def _in_child() -> None:
    """After a fork: no other thread computes here, and the lock may have been held by one."""
    global _limit
    parent, _limit = _limit, _Limit()
    if parent._wishes:
        parent.restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
