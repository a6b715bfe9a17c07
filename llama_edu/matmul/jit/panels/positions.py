"""Positions side by side, so that each lane of a vector belongs to one position.

A panel holds as many positions as the tiles keep in registers (lanes.WIDE), the last ones of a
prompt 16: for each number of a position, or what takes the place of 4 bytes, one row with that of
all positions. The panels of all positions follow each other in one array of bytes; what is missing
in the last is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from llama_edu.matmul.jit.int8.lanes import rounded_to_half
from llama_edu.matmul.jit.int8.vectors import floats_16
from llama_edu.matmul.jit.loops import OPTIONS
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.panels.lanes import WIDE, store_four
from llama_edu.matmul.threads import run_shares

#: Bytes at whose multiples panels begin: a line of the cache, as long as the longest register.
_LINE = 64


@njit(**OPTIONS)
def lay_side_by_side(x, first, stop, panel, row):
    """Columns `first` to `stop` of x, (positions, columns) float32, as rows of a panel.

    Args:
        panel: (rows, positions of a panel) float32. row: where the first column goes.
    """
    T = len(x)
    whole, whole_columns = T - T % 4, stop - (stop - first) % 16
    for c in range(first, whole_columns, 16):
        for t in range(0, whole, 4):
            store_four(
                panel, row + c - first, 4 * t, floats_16(x, t, 4 * c), floats_16(x, t + 1, 4 * c),
                floats_16(x, t + 2, 4 * c), floats_16(x, t + 3, 4 * c),
            )  # fmt: skip
        for t in range(whole, T):
            for k in range(c, c + 16):
                panel[row + k - first, t] = x[t, k]
    for k in range(whole_columns, stop):
        for t in range(T):
            panel[row + k - first, t] = x[t, k]
    if panel.shape[1] > T:
        for k in range(row, row + stop - first):
            for t in range(T, panel.shape[1]):
                panel[k, t] = 0


@njit(**OPTIONS)
def to_bf16(x, out):
    """Round to the nearest bfloat16, ties to even, as quants/quantize.py does.

    Args:
        x: (T, n) uint32, the bits of float32. out: (T, n) uint16.
    """
    for t in range(len(x)):
        for k in range(x.shape[1]):
            bits = x[t, k]
            odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
            rounded = np.uint32(np.uint32(bits + np.uint32(0x7FFF)) + odd)
            if np.uint32(bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000):
                rounded = np.uint32(bits | np.uint32(0x400000))  # NaN stays one
            out[t, k] = np.uint16(np.uint32(rounded >> np.uint32(16)))


@njit(**OPTIONS)
def to_f16(x, out):
    """Round float32 to what a float16 can hold: x and out (T, n) float32."""
    for t in range(len(x)):
        for k in range(x.shape[1]):
            out[t, k] = rounded_to_half(x[t, k])


def panels(
    n_positions: int,
    width: int,
    fill: Callable[[int, int, np.ndarray], None],
    threads: int = 1,
) -> np.ndarray:
    """Room for all positions, filled panel by panel; the panels are shared among threads.

    Args:
        width: numbers of 4 bytes for each position.
        fill: fill(first, stop, panel) lays these positions into (width, positions of the panel)
            float32.
    Returns:
        (1, bytes) uint8.
    """
    n_padded = padded(n_positions)
    n_bytes = 4 * n_padded * width
    room = np.empty(n_bytes + _LINE, np.uint8)
    start = -room.ctypes.data % _LINE
    data = room[start : start + n_bytes]
    edges = [*_edges(n_padded)]

    def some_panels(begin: int, end: int) -> None:
        for first, stop in edges[begin:end]:
            panel = data[4 * first * width : 4 * stop * width].view(np.float32)
            fill(first, min(stop, n_positions), panel.reshape(width, stop - first))

    run_shares(some_panels, len(edges), threads)
    return data.reshape(1, -1)


def padded(n_positions: int) -> int:
    """How many positions the panels have room for."""
    return -(-n_positions // 16) * 16


def _edges(n_padded: int) -> Iterator[tuple[int, int]]:
    """The first position of each panel and of the next."""
    first = 0
    while first < n_padded:
        stop = first + (WIDE if first + WIDE <= n_padded else 16)
        yield first, stop
        first = stop
