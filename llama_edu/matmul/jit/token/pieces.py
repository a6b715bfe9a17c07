"""How threads share a step without waiting for each other more than once: whoever is there takes.

Each step has two words of `control` that only grow: pieces taken and pieces done. For token n they
go from (n - 1) * pieces to n * pieces. A thread that comes late finds all pieces taken and goes on;
one that another program keeps from running delays the others by the one piece that it holds.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.loops import OPTIONS
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.memory import (
    add_shared,
    load_shared,
    replace_shared,
    yield_at,
)
from llama_edu.matmul.jit.token import places as at

#: A matrix has this many pieces at most, and a piece this many bytes at least, for a microsecond.
_MOST_PIECES, _PIECE_BYTES = 32, 16 * 1024

#: Rows of a piece are a multiple of this, so that no two threads write to one cache line.
_ROWS_TOGETHER = 16

#: Looks at a counter before the processor is offered to another thread: some 20 microseconds.
_PATIENCE = 20000


@njit(**OPTIONS)
def take(control, step, token, n_pieces):
    """The number of a piece that nobody has taken, or -1."""
    word = at.FIRST_STEP + at.STEP_WORDS * step
    end = token * n_pieces
    while True:
        taken = load_shared(control, word)
        if taken >= end:
            return np.int64(-1)
        if replace_shared(control, word, taken, taken + 1):
            return taken - (end - n_pieces)


@njit(**OPTIONS)
def give_back(control, step):
    """A piece that was taken is done."""
    add_shared(control, at.FIRST_STEP + at.STEP_WORDS * step + at.DONE, np.int64(1))


@njit(**OPTIONS)
def wait(control, step, token, n_pieces):
    """Until all pieces of a step are done."""
    word = at.FIRST_STEP + at.STEP_WORDS * step + at.DONE
    looks = 0
    while load_shared(control, word) < token * n_pieces:
        looks += 1
        if looks == _PATIENCE:
            looks = 0
            add_shared(control, at.LONG_WAITS, np.int64(1))
            if control[at.YIELD] != 0:
                yield_at(control[at.YIELD])


@njit(**OPTIONS)
def rows_of_piece(matrix):
    """How many rows of a stored matrix make a piece."""
    rows = max(1, _PIECE_BYTES // matrix[at.ROW_BYTES], matrix[at.ROWS] // _MOST_PIECES)
    return (rows + _ROWS_TOGETHER - 1) // _ROWS_TOGETHER * _ROWS_TOGETHER


@njit(**OPTIONS)
def pieces_of(matrix):
    """How many pieces a stored matrix has."""
    per_piece = rows_of_piece(matrix)
    return (matrix[at.ROWS] + per_piece - 1) // per_piece
