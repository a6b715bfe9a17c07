"""The compiled loops with their rows shared among threads that numba starts and keeps ready.

One function per loop, written out: functions made by a shared factory would not be cached on disk.
Sharing a matrix costs about 3 microseconds with OpenMP, whose threads wait actively for the next
one; see product.py for what happens without it.
"""

from __future__ import annotations

from numba import njit, prange

from llama_edu.matmul.jit import loops, loops_k
from llama_edu.matmul.jit.loops import OPTIONS


@njit(parallel=True, **OPTIONS)
def f16(w, x, out, threads):
    """Run loops.f16 on the rows of each thread."""
    for t in prange(threads):
        loops.f16(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def bf16(w, x, out, threads):
    """Run loops.bf16 on the rows of each thread."""
    for t in prange(threads):
        loops.bf16(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q8_0(w, x, out, threads):
    """Run loops.q8_0 on the rows of each thread."""
    for t in prange(threads):
        loops.q8_0(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q4_0(w, x, out, threads):
    """Run loops.q4_0 on the rows of each thread."""
    for t in prange(threads):
        loops.q4_0(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q4_1(w, x, out, threads):
    """Run loops.q4_1 on the rows of each thread."""
    for t in prange(threads):
        loops.q4_1(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q5_0(w, x, out, threads):
    """Run loops.q5_0 on the rows of each thread."""
    for t in prange(threads):
        loops.q5_0(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q5_1(w, x, out, threads):
    """Run loops.q5_1 on the rows of each thread."""
    for t in prange(threads):
        loops.q5_1(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q4_k(w, x, out, threads):
    """Run loops_k.q4_k on the rows of each thread."""
    for t in prange(threads):
        loops_k.q4_k(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q5_k(w, x, out, threads):
    """Run loops_k.q5_k on the rows of each thread."""
    for t in prange(threads):
        loops_k.q5_k(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)


@njit(parallel=True, **OPTIONS)
def q6_k(w, x, out, threads):
    """Run loops_k.q6_k on the rows of each thread."""
    for t in prange(threads):
        loops_k.q6_k(w, x, out, len(w) * t // threads, len(w) * (t + 1) // threads)
