"""How threads share a step and wait for each other only once: the one that is there takes a piece.

Each step has two words of `control` that only grow: pieces taken and pieces done. For token n they
go from (n - 1) * pieces to n * pieces. A thread that comes late finds all pieces taken and goes on;
one that another program keeps from running delays the others by the one piece that it holds.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.loops import OPTIONS
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.memory import add_shared, call_c, load_shared, replace_shared, word
from llama_edu.matmul.jit.token import places as at

#: Every thread first takes one large piece of a matrix, which it reads in one go; together they are
#: this share of it. The rest is small pieces of about so many bytes, a microsecond each.
_LARGE_SHARE, _SMALL_BYTES = 0.9, 16 * 1024

#: Rows of a piece are a multiple of this, so that no two threads write to one cache line.
_ROWS_TOGETHER = 16

#: Looks at a counter, some 5 microseconds, before the processor is offered to another thread. If so
#: many offers are not enough, the wait counts as long, and the thread sleeps, in microseconds.
_LOOKS, _OFFERS, _SLEEP = 20_000, 40, 100


@njit(**OPTIONS)
def take(control, step, token, n_pieces):
    """The number of a piece that no thread has taken, or -1."""
    counter = at.FIRST_STEP + at.STEP_WORDS * step
    end = token * n_pieces
    while True:
        taken = load_shared(control, counter)
        if taken >= end:
            return np.int64(-1)
        if replace_shared(control, counter, taken, taken + 1):
            return taken - (end - n_pieces)


@njit(**OPTIONS)
def give_back(control, step):
    """A piece that was taken is done."""
    add_shared(control, at.FIRST_STEP + at.STEP_WORDS * step + at.DONE, np.int64(1))


@njit(**OPTIONS)
def wait(control, step, token, n_pieces):
    """Until all pieces of a step are done."""
    counter = at.FIRST_STEP + at.STEP_WORDS * step + at.DONE
    looks = offers = 0
    while load_shared(control, counter) < token * n_pieces:
        looks += 1
        if looks < _LOOKS and offers <= _OFFERS:
            continue
        looks = 0
        offers += 1
        if offers == _OFFERS:
            add_shared(control, at.LONG_WAITS, np.int64(1))
        if offers <= _OFFERS and word(control, at.YIELD) != 0:
            call_c(word(control, at.YIELD), np.int32(0))
        elif word(control, at.SLEEP) != 0:
            call_c(word(control, at.SLEEP), np.int32(_SLEEP))


@njit(**OPTIONS)
def pieces_of(matrix, threads):
    """How many pieces a stored matrix has, for a team of so many threads."""
    large, small = _rows_of_pieces(matrix, threads)
    rest = word(matrix, at.ROWS) - large * threads
    return (rest + small - 1) // small + (threads if large else 0)


@njit(**OPTIONS)
def rows_of(matrix, threads, piece):
    """Which rows of a stored matrix a piece is: from the first to before the second."""
    large, small = _rows_of_pieces(matrix, threads)
    if large and piece < threads:
        return piece * large, (piece + 1) * large
    start = large * threads + (piece - (threads if large else 0)) * small
    return start, min(start + small, word(matrix, at.ROWS))


@njit(**OPTIONS)
def _rows_of_pieces(matrix, threads):
    """Rows of a large piece, 0 if there are none, and of a small one."""
    rows, row_bytes = word(matrix, at.ROWS), word(matrix, at.ROW_BYTES)
    small = max(1, _SMALL_BYTES // row_bytes // _ROWS_TOGETHER) * _ROWS_TOGETHER
    large = np.int64(rows * _LARGE_SHARE / threads) // _ROWS_TOGETHER * _ROWS_TOGETHER
    return (large if large > small else 0), small
