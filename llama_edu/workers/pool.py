"""--workers N: a ProcessPoolExecutor of the standard library, whose processes are spawned.

Spawned and not forked: a fork copies locks of threads that it does not copy, and compiled code and
BLAS have such threads.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from llama_edu.errors import RequestError
from llama_edu.matmul.cores import cores
from llama_edu.workers.pieces import MapFunction

#: The largest number of workers where there are fewer cores; Windows can wait for no more at once.
_MOST_WORKERS = 61


def check_workers(workers: int) -> int:
    """The number itself. RequestError, which names the limit, unless it is 1 to that."""
    most = _MOST_WORKERS if sys.platform == "win32" else max(_MOST_WORKERS, cores().usable)
    if not 1 <= workers <= most:
        raise RequestError(
            f"workers is {workers:,}, expected 1 to {most}: each is a process with a Python of its "
            f"own, and more than there are cores ({cores().usable} here) save no time"
        )
    return workers


def threads_of_each(workers: int) -> int:
    """A worker's share of the cores that this process may use, at least one."""
    return max(1, cores().usable // workers)


@contextmanager
def process_map(workers: int) -> Iterator[MapFunction]:
    """A map function whose pieces are shared by so many processes; they end with the block.

    They are started when it is called for the first time. Where a worker is killed, or Ctrl+C
    comes, it still gives the results of all pieces that are done, out of order, and raises then.

    Raises RequestError for an impossible number of workers.
    """
    check_workers(workers)
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_begin_worker
    )
    is_stopped = True

    def map(function: Callable[[Any], Any], pieces: Sequence[Any]) -> Iterator[Any]:
        nonlocal is_stopped
        with _interrupts_held_back():  # a child inherits that, and leaves Ctrl+C to this process
            futures = [pool.submit(function, piece) for piece in pieces]
        is_stopped = True
        yield from _in_order(futures)
        is_stopped = False

    try:
        yield map
    except BaseException:
        is_stopped = True
        raise
    finally:
        pool.shutdown(wait=not is_stopped, cancel_futures=True)
        if is_stopped:  # after Ctrl+C, what is not done is not waited for
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()


def _in_order(futures: list[Future[Any]]) -> Iterator[Any]:
    n_given = 0
    try:
        for future in futures:
            result = future.result()
            n_given += 1
            yield result
    except (KeyboardInterrupt, BrokenExecutor):
        found = []
        for future in futures[n_given:]:
            with suppress(Exception):  # it is not done, or ended in the same way
                found.append(future.result(timeout=0))
        yield from found
        raise


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """A block in which Ctrl+C waits, where a system can let it wait."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    """In each worker: Ctrl+C is for the process that started it, and it ends with that one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="llama-edu-parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # a worker would wait for its next piece forever
        os._exit(1)
