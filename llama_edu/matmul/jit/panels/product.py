"""x @ w.T for many positions and 16-bit floats or float32: the fast sibling of matmul/tiles.py.

float32 is multiplied as it lies in the file, and bfloat16 by bfloat16 where x is rounded to that
and the processor can. Rows of all other types become float32, a few at a time, by the functions of
jit/tiles.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from llama_edu.matmul.jit.machine_code import call
from llama_edu.matmul.jit.panels import host, jobs, positions, tiles
from llama_edu.matmul.jit.panels.jobs import Job
from llama_edu.matmul.workspace import scratch

#: Bytes of rows that become float32 together, which should stay in a core's own cache.
_FILLED_BYTES = 256 * 1024

#: What x is rounded to: nothing, or the type of 16 bits that the weights have.
ROUNDINGS = ("float32", "f16", "bf16")


def can_multiply(n_rows: int) -> bool:
    """Whether there are tiles for matrices of so many rows on this processor."""
    return n_rows >= jobs.TILE_ROWS and host.host()[0] > 0


def can_multiply_bf16(w: np.ndarray) -> bool:
    """Whether pairs of bfloat16 can be multiplied: (rows, n) int16."""
    return can_multiply(len(w)) and host.host()[1] and w.shape[1] % 2 == 0


def side_by_side(x: np.ndarray, rounding: str) -> np.ndarray:
    """(1, bytes) uint8: x, (T, n) float32, in panels; "bf16" needs an even n."""
    x = np.ascontiguousarray(x)
    rounded = x
    if rounding == "f16":
        rounded = np.empty_like(x)
        call("rounding to float16", positions.to_f16, x, rounded)
    elif rounding == "bf16":
        halves = np.empty(x.shape, np.uint16)
        call("rounding to bfloat16", positions.to_bf16, x.view(np.uint32), halves)
        rounded = halves.view(np.float32)

    def fill(first: int, stop: int, panel: np.ndarray) -> None:
        call("panels", positions.lay_side_by_side, rounded[first:stop], 0, len(panel), panel, 0)

    return positions.panels(len(x), rounded.shape[1], fill)


def float32_job(x: np.ndarray, w: np.ndarray, out: np.ndarray) -> Job:
    """Multiply float32 as it lies.

    Args:
        x: from side_by_side. w: (rows, n) float32. out: (padded T, rows) float32.
    """
    return _in_place("float32", tiles.float32, x, w, out)


def bf16_job(x: np.ndarray, w: np.ndarray, out: np.ndarray) -> Job:
    """Multiply bfloat16 as it lies; x was rounded to "bf16".

    Args:
        w: (rows, n) int16.
    """
    return _in_place("bf16", tiles.bf16, x, w, out)


def _in_place(name: str, loop: Any, x: np.ndarray, w: np.ndarray, out: np.ndarray) -> Job:
    def run(first: int, stop: int) -> None:
        call(f"tiles of {name}", loop, w, first, stop, x, out, 0)

    return Job(jobs.tiles_of(len(w)), w.shape[1] * out.size, run)


def filled_job(
    x: np.ndarray,
    w: np.ndarray,
    n: int,
    out: np.ndarray,
    fill: Callable[[np.ndarray, np.ndarray], object],
) -> Job:
    """Multiply rows that `fill` makes float32.

    Args:
        w: (rows, ...) as `fill` takes it. n: numbers of a row.
        fill: fill(rows of w, filled) writes (rows, n) float32.
    """
    together = max(1, _FILLED_BYTES // (4 * n * jobs.TILE_ROWS))

    def run(first: int, stop: int) -> None:
        room = scratch("filled", (min(together, stop - first) * jobs.TILE_ROWS, n))
        for tile in range(first, stop, together):
            start, end = jobs.rows_of(tile, min(tile + together, stop), len(w))
            filled = room[: end - start]
            fill(w[start:end], filled)
            filled.flags.writeable = False  # one compiled form for these and for stored float32
            n_tiles = jobs.tiles_of(len(filled))
            call("tiles of float32", tiles.float32, filled, 0, n_tiles, x, out, start)

    return Job(jobs.tiles_of(len(w)), n * out.size, run)


def results(n_positions: int, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for a result: all of it, (padded T, rows), and the view of it that is wanted."""
    out = np.empty((positions.padded(n_positions), n_rows), np.float32)
    return out, out[:n_positions]
