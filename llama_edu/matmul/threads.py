"""How many cores may work, and how our threads and those of BLAS keep out of each other's way.

BLAS has threads of its own. While our threads each convert and multiply their share of a matrix,
BLAS must use one thread in each of them, or both cores do the work of four.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from llama_edu.errors import RequestError

#: Fewer positions than this are not worth a second thread, where numpy does the work in steps: they
#: are then so short that the threads spend their time waiting for each other at Python's lock.
FEW_POSITIONS = 16


def usable_cores() -> int:
    """Cores on which this process may run, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: int | None) -> int:
    """The number of threads to use; None means all usable cores."""
    if threads is None:
        return usable_cores()
    if threads < 1:
        raise RequestError(f"threads is {threads}, expected 1 or more")
    return threads


def run_shares(work: Callable[[int, int], None], n_items: int, threads: int) -> None:
    """Call work(start, stop) for equal shares of n_items, one share per thread, BLAS single.

    The calling thread takes the first share. An exception in any share is raised here.
    """
    edges = [n_items * share // threads for share in range(threads + 1)]
    with blas_threads(1):
        futures = [
            _pool(threads).submit(work, edges[share], edges[share + 1])
            for share in range(1, threads)
        ]
        work(edges[0], edges[1])
        for future in futures:
            future.result()


@contextmanager
def blas_threads(n: int) -> Iterator[None]:
    """Let BLAS use n threads within; changes nothing where threadpoolctl is not installed."""
    changed = [
        (library, n_before)
        for library in _blas_libraries()
        if (n_before := library.get_num_threads()) != n
    ]
    for library, _ in changed:
        library.set_num_threads(n)
    try:
        yield
    finally:
        for library, n_before in changed:
            library.set_num_threads(n_before)


def can_control_blas() -> bool:
    """Whether the threads of BLAS can be set, so that threads of our own are worth while."""
    return bool(_blas_libraries())


@cache
def _blas_libraries() -> Sequence:
    """The BLAS libraries in this process, found once; numpy has loaded its own by now."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return ()
    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)


@cache
def _pool(threads: int):
    from concurrent.futures import ThreadPoolExecutor  # only where there is work to share

    return ThreadPoolExecutor(threads - 1, thread_name_prefix="llama-edu-matmul")
