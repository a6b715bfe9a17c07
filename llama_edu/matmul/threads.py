"""How many threads to use, and sharing work among them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache

from llama_edu.errors import RequestError
from llama_edu.matmul.blas import blas_threads

#: Fewer positions than this are not worth a second thread where numpy works in steps: the steps are
#: then so short that threads mostly wait for each other at Python's global lock.
FEW_POSITIONS = 16


def usable_cores() -> int:
    """Cores that this process may run on, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: int | None) -> int:
    """The number of threads to use: the given one, or for None one per usable core."""
    if threads is None:
        return usable_cores()
    if threads < 1:
        raise RequestError(f"threads is {threads}, expected 1 or more")
    return threads


def run_shares(work: Callable[[int, int], None], n_items: int, threads: int) -> None:
    """Call work(start, stop) for equal shares of n_items, one per thread, with BLAS on one thread.

    No share is empty: there are never more threads than items. The calling thread takes the first
    share. An exception in any share is raised here.
    """
    threads = max(1, min(threads, n_items))
    edges = [n_items * share // threads for share in range(threads + 1)]
    with blas_threads(1):
        futures = [
            _pool(threads).submit(work, edges[share], edges[share + 1])
            for share in range(1, threads)
        ]
        work(edges[0], edges[1])
        for future in futures:
            future.result()


@cache
def _pool(threads: int):
    from concurrent.futures import ThreadPoolExecutor  # only where there is work to share

    return ThreadPoolExecutor(threads - 1, thread_name_prefix="llama-edu-matmul")


if hasattr(os, "register_at_fork"):
    # a child has its parent's executors but not their threads; it would wait forever
    os.register_at_fork(after_in_child=_pool.cache_clear)
