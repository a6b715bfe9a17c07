"""The int8 loops with their rows shared among threads that numba starts and keeps ready.

Written out for the reason that jit/shares.py gives.
"""

from __future__ import annotations

from numba import njit, prange

from llama_edu.matmul.jit.int8 import rows, rows_k
from llama_edu.matmul.jit.loops import OPTIONS


@njit(parallel=True, **OPTIONS)
def q4_0(w, x, out, threads):
    """Run rows.q4_0 on the rows of each thread."""
    for t in prange(threads):
        rows.q4_0(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q4_1(w, x, out, threads):
    """Run rows.q4_1 on the rows of each thread."""
    for t in prange(threads):
        rows.q4_1(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q5_0(w, x, out, threads):
    """Run rows.q5_0 on the rows of each thread."""
    for t in prange(threads):
        rows.q5_0(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q5_1(w, x, out, threads):
    """Run rows.q5_1 on the rows of each thread."""
    for t in prange(threads):
        rows.q5_1(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q8_0(w, x, out, threads):
    """Run rows.q8_0 on the rows of each thread."""
    for t in prange(threads):
        rows.q8_0(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def iq4_nl(w, x, out, threads):
    """Run rows.iq4_nl on the rows of each thread."""
    for t in prange(threads):
        rows.iq4_nl(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q2_k(w, x, out, threads):
    """Run rows_k.q2_k on the rows of each thread."""
    for t in prange(threads):
        rows_k.q2_k(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q3_k(w, x, out, threads):
    """Run rows_k.q3_k on the rows of each thread."""
    for t in prange(threads):
        rows_k.q3_k(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q4_k(w, x, out, threads):
    """Run rows_k.q4_k on the rows of each thread."""
    for t in prange(threads):
        rows_k.q4_k(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q5_k(w, x, out, threads):
    """Run rows_k.q5_k on the rows of each thread."""
    for t in prange(threads):
        rows_k.q5_k(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q6_k(w, x, out, threads):
    """Run rows_k.q6_k on the rows of each thread."""
    for t in prange(threads):
        rows_k.q6_k(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def iq4_xs(w, x, out, threads):
    """Run rows_k.iq4_xs on the rows of each thread."""
    for t in prange(threads):
        rows_k.iq4_xs(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)
