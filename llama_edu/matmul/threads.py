"""How many threads to use, and sharing work among them."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.matmul.blas import blas_threads, obey_blas_threads
from llama_edu.matmul.cores import cores

#: Fewer positions than this are not worth a second thread where numpy works in steps: the steps are
#: then so short that threads mostly wait for each other at Python's global lock.
FEW_POSITIONS = 16

#: Into how many pieces work is cut for each thread, at most. A thread that another program keeps
#: from its core delays the others by one piece.
_PIECES_PER_THREAD = 6


def check_threads(threads: int | None) -> int:
    """The number of threads to use: the given one, or for None one per usable core (cores.py)."""
    if threads is None:
        return cores().usable
    if threads < 1:
        raise RequestError(f"threads is {threads}, expected 1 or more")
    return threads


def worth(threads: int, work: float, for_one: float) -> int:
    """How many of these threads make the work shortest: two if each finds `for_one` of it.

    Threads wake up and take pieces one after the other, at Python's lock. So n threads take
    work / n + n * c, which is least at the square root of work / c. On 16 cores, with c as
    4 * for_one, prompts took a third to a half of the time that they took with all threads, and
    never longer than with one.
    """
    if work < 2 * for_one:
        return 1
    return min(threads, max(2, math.isqrt(int(work / (4 * for_one)))))


def run_shares(
    work: Callable[[int, int], object], n_items: int, threads: int, smallest: int = 1
) -> None:
    """Call work(start, stop) for pieces of n_items until all are done, with BLAS on one thread.

    The pieces are handed out in order: whichever thread is free takes the next one. The calling
    thread takes part, and waits only for threads that have taken a piece. Threads that come later
    find nothing left. So one that never gets a core costs nothing, and this may be called in a
    piece, from several threads at once, and after a fork.

    An error in any piece is raised here, when no piece is being worked on any more.

    Args:
        threads: the largest number of threads, the calling one included; none is called for less
            than one item.
        smallest: how many items a piece has at least, if there are more pieces than threads. With
            more than 1, items count as equally long: there are as many pieces for each thread.
    """
    threads = min(threads, n_items)
    with blas_threads(1):
        if threads > 1:
            n_pieces = min(threads * _PIECES_PER_THREAD, n_items // smallest)
            if smallest > 1:
                n_pieces = max(threads, n_pieces - n_pieces % threads)
            _Pieces(work, n_items, n_pieces).run(threads - 1)
        elif n_items:
            work(0, n_items)


class _Pieces:
    """Work that several threads take pieces of, until none is left."""

    def __init__(self, work: Callable[[int, int], object], n_items: int, n_pieces: int) -> None:
        self._work: Callable[[int, int], object] | None = work
        self._n_items, self._n_pieces = n_items, n_pieces
        self._lock = threading.Lock()
        self._n_taken = self._n_helpers = 0
        self._left: SimpleQueue[BaseException | None] = SimpleQueue()
        self._numpy_errors = np.geterr()  # a setting of the calling thread alone

    def run(self, n_helpers: int) -> None:
        """In the calling thread: do everything, with as many other threads as come in time."""
        errors: list[BaseException | None] = []
        _pool.ask(self, n_helpers)
        try:
            try:
                self._take_pieces()
            finally:
                self._end()
                errors += [self._left.get() for _ in range(self._n_helpers)]
            for error in errors:
                if error is not None:
                    raise error
        finally:
            self._work = None  # late threads still hold this object, but nothing that it needed
            errors.clear()  # whose tracebacks hold this frame

    def help(self) -> None:
        """In another thread: take part, unless nothing is left."""
        with self._lock:
            if self._n_taken >= self._n_pieces:
                return
            self._n_helpers += 1
        raised = None
        try:
            obey_blas_threads()
            with np.errstate(**self._numpy_errors):
                self._take_pieces()
        except BaseException as error:
            self._end()
            raised = error
        self._left.put(raised)

    def _take_pieces(self) -> None:
        work, n_items, n_pieces = self._work, self._n_items, self._n_pieces
        assert work is not None
        while True:
            with self._lock:
                piece = self._n_taken
                if piece >= n_pieces:
                    return
                self._n_taken += 1
            work(n_items * piece // n_pieces, n_items * (piece + 1) // n_pieces)

    def _end(self) -> None:
        """Hand out no more pieces."""
        with self._lock:
            self._n_taken = self._n_pieces


class _Pool:
    """Threads that wait for work, as many as were ever asked for at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: SimpleQueue[_Pieces] = SimpleQueue()
        self._n_threads = 0

    def ask(self, pieces: _Pieces, n: int) -> None:
        """Let n threads help as soon as they can."""
        if self._n_threads < n:
            self._grow(n)
        for _ in range(n):
            self._asked.put(pieces)

    def _grow(self, n: int) -> None:
        with self._lock:
            while self._n_threads < n:
                thread = threading.Thread(target=self._wait, name="llama-edu-matmul", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the system, or a Python that ends, allows no more
                    return
                self._n_threads += 1

    def _wait(self) -> None:
        asked = self._asked
        while True:
            asked.get().help()


_pool = _Pool()


def _in_child() -> None:
    """After a fork: the child has its parent's queue but not the threads that wait at it."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
