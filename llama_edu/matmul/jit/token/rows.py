"""x in the form that each stored type wants, and some rows of a stored matrix times x.

A thread prepares x for itself when it takes its first piece of a step: that is one microsecond, and
spares all threads a meeting.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.loops import OPTIONS
from llama_edu.matmul.jit.machine_code import njit
from llama_edu.matmul.jit.memory import call_at, floats_at, words_at
from llama_edu.matmul.jit.token import places as at
from llama_edu.matmul.jit.token.steps import rms_norm


@njit(**OPTIONS)
def _prepared(matrix, private, mark, x):
    """The address of x in the form that a matrix wants, made once for each mark."""
    kind = matrix[at.KIND]
    if kind == at.PLAIN:
        return x
    ready = words_at(private[at.READY], at.N_KINDS)
    out = private[at.BY_KIND + kind]
    if ready[kind] != mark:
        ready[kind] = mark
        n_bytes, one = 4 * matrix[at.COLUMNS], np.int64(1)
        call_at(matrix[at.FORM], x, matrix[at.FORM_BYTES], x, n_bytes, one, out, one, one, one)
    return out


@njit(**OPTIONS)
def multiply(matrix, private, mark, x, out, start, stop):
    """Rows start to stop of one stored matrix times x.

    Args:
        matrix: its row of the table. mark: a number that belongs to this x alone.
        x: the address of float32, as many as the matrix has columns.
        out: the address of float32, as many as it has rows.
    """
    form = _prepared(matrix, private, mark, x)
    call_at(
        matrix[at.KERNEL], matrix[at.ADDRESS], matrix[at.ROW_BYTES], form, matrix[at.FORM_BYTES],
        np.int64(1), out, matrix[at.ROWS], start, stop,
    )  # fmt: skip


@njit(**OPTIONS)
def normed(run, weight, mark):
    """The address of this thread's copy of the position's vector after a norm."""
    private, n = run.private, run.sizes[at.DIM]
    ready = words_at(private[at.READY], at.N_KINDS)
    if ready[at.PLAIN] != mark:
        ready[at.PLAIN] = mark
        x, out = floats_at(run.shared[at.X], n), floats_at(private[at.NORMED], n)
        rms_norm(x, floats_at(weight, n), run.eps, out)
    return private[at.NORMED]
