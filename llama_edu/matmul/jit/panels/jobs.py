"""Several matrices times the same positions: their tiles are handed to threads as one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from llama_edu.matmul.threads import run_shares, worth

#: Rows of a tile.
TILE_ROWS = 16

#: Products of single numbers for which a second thread is woken, some 40 microseconds, and that a
#: thread takes at a time, at least.
FOR_ONE_THREAD, AT_A_TIME = 4 * 1024 * 1024, 2 * 1024 * 1024


class Job(NamedTuple):
    """One matrix: run(first tile, stop tile) computes 16 columns of the result for each tile.

    Attributes:
        n_products: of single numbers, all tiles together.
    """

    n_tiles: int
    n_products: int
    run: Callable[[int, int], None]


def run(jobs: Sequence[Job], threads: int) -> None:
    """Do all of them; threads take tiles, from one job or from several."""
    ends = [*accumulate(job.n_tiles for job in jobs)]

    def some_tiles(start: int, stop: int) -> None:
        for job, end in zip(jobs, ends, strict=True):
            begin = end - job.n_tiles
            if start < end and stop > begin:
                job.run(max(start, begin) - begin, min(stop, end) - begin)

    if ends:
        n_products = max(1, sum(job.n_products for job in jobs))
        smallest = -(-ends[-1] * AT_A_TIME // n_products)
        threads = worth(threads, n_products, FOR_ONE_THREAD)
        run_shares(some_tiles, ends[-1], threads, smallest)


def tiles_of(n_rows: int) -> int:
    """How many tiles a matrix has; the last may begin earlier, to end with it."""
    return -(-n_rows // TILE_ROWS)


def rows_of(first_tile: int, stop_tile: int, n_rows: int) -> tuple[int, int]:
    """The rows of these tiles, 16 or more: (first, stop)."""
    stop = min(TILE_ROWS * stop_tile, n_rows)
    return min(TILE_ROWS * first_tile, stop - TILE_ROWS), stop
