"""x in the form that each stored type wants, and some rows of a stored matrix times x.

A thread prepares x for itself when it takes its first piece of a step: that is one microsecond, and
spares all threads a meeting. A mark numbers the x of each step of each token, so that nothing stale
is used.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.loops import OPTIONS
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.memory import call_at, set_word, word
from llama_edu.matmul.jit.token import places as at


@njit(**OPTIONS)
def _prepared(matrix, private, mark, x):
    """The address of x in the form that a matrix wants, made once for each mark."""
    kind = word(matrix, at.KIND)
    if kind == at.PLAIN:
        return x
    ready, out = word(private, at.READY), word(private, at.BY_KIND + kind)
    if word(ready, kind) != mark:
        set_word(ready, kind, mark)
        n_bytes, one = 4 * word(matrix, at.COLUMNS), np.int64(1)
        function, form_bytes = word(matrix, at.FORM), word(matrix, at.FORM_BYTES)
        call_at(function, x, form_bytes, x, n_bytes, one, out, one, one, one)
    return out


@njit(**OPTIONS)
def multiply(matrix, private, mark, x, out, start, stop):
    """Rows start to stop of one stored matrix times x.

    Args:
        matrix: the address of its row of the table. mark: a number that belongs to this x alone.
        x: the address of float32, as many as the matrix has columns.
        out: the address of float32, as many as it has rows.
    """
    form = _prepared(matrix, private, mark, x)
    w, row_bytes, n_rows = (
        word(matrix, at.ADDRESS), word(matrix, at.ROW_BYTES), word(matrix, at.ROWS),
    )  # fmt: skip
    kernel, n_bytes = word(matrix, at.KERNEL), word(matrix, at.FORM_BYTES)
    call_at(kernel, w, row_bytes, form, n_bytes, np.int64(1), out, n_rows, start, stop)


@njit(**OPTIONS)
def normed(team, private, weight, mark):
    """The address of this thread's copy of the position's vector after a norm."""
    ready, out, zero = word(private, at.READY), word(private, at.NORMED), np.int64(0)
    if word(ready, at.PLAIN) != mark:
        set_word(ready, at.PLAIN, mark)
        x, n, eps_bits = (
            word(word(team, at.SHARED), at.X),
            word(team, at.DIM),
            word(team, at.EPS_BITS),
        )
        call_at(word(team, at.NORM), x, weight, n, eps_bits, out, zero, zero, zero, zero)
    return out
