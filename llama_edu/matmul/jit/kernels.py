"""The float32 loops as C functions of addresses, one form for all: what a plan's tables can name.

Each multiplies rows `start` to `stop` of a stored matrix by some positions:

    w, row_bytes         address of the matrix, bytes of a row
    x, x_bytes, n        address of the positions, bytes of one, how many
    out, n_out           address of (n, n_out) float32, to which they write

x is float32, or what one of the first functions here makes of it, in the same form: x and n, the
number of positions, and of one position x_bytes and row_bytes of the result at out.

Written out, because what a shared factory makes cannot be kept on disk.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit import loops, loops_k
from llama_edu.matmul.jit.memory import (
    bits_at,
    byte_rows_at,
    float_rows_at,
    floats_at,
    short_rows_at,
)

# ruff: noqa: D103


def halved(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    """X * 2 ** 56, for float16; see loops.f16."""
    a, b = floats_at(x, n * x_bytes // 4), floats_at(out, n * x_bytes // 4)
    for i in range(len(a)):
        b[i] = a[i] * np.float32(loops.HALF_REBIAS)


def as_bf16(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    """X rounded to bfloat16, as float32; of two that are as near, the even one."""
    a, b = bits_at(x, n * x_bytes // 4), bits_at(out, n * x_bytes // 4)
    for i in range(len(a)):
        bits = np.int32(a[i])
        if np.int32(bits & np.int32(0x7FFFFFFF)) > np.int32(0x7F800000):  # NaN stays one
            b[i] = np.int32(bits | np.int32(0x400000)) & np.int32(-0x10000)
        else:
            odd = np.int32(np.int32(bits >> np.int32(16)) & np.int32(1))
            b[i] = np.int32(bits + np.int32(0x7FFF) + odd) & np.int32(-0x10000)


def f32(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rows = float_rows_at(w, stop, row_bytes // 4)
    for t in range(n):
        a, b = floats_at(x + t * x_bytes, x_bytes // 4), floats_at(out + t * n_out * 4, n_out)
        loops.f32(rows, a, b, start, stop)


def f16(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rows = short_rows_at(w, stop, row_bytes // 2)
    for t in range(n):
        a, b = floats_at(x + t * x_bytes, x_bytes // 4), floats_at(out + t * n_out * 4, n_out)
        loops.f16(rows, a, b, start, stop)


def bf16(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rows = short_rows_at(w, stop, row_bytes // 2)
    for t in range(n):
        a, b = floats_at(x + t * x_bytes, x_bytes // 4), floats_at(out + t * n_out * 4, n_out)
        loops.bf16(rows, a, b, start, stop)


def q8_0(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rows = byte_rows_at(w, stop, row_bytes)
    for t in range(n):
        a, b = floats_at(x + t * x_bytes, x_bytes // 4), floats_at(out + t * n_out * 4, n_out)
        loops.q8_0(rows, a, b, start, stop)


def q4_0(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rows = byte_rows_at(w, stop, row_bytes)
    for t in range(n):
        a, b = floats_at(x + t * x_bytes, x_bytes // 4), floats_at(out + t * n_out * 4, n_out)
        loops.q4_0(rows, a, b, start, stop)


def q4_1(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rows = byte_rows_at(w, stop, row_bytes)
    for t in range(n):
        a, b = floats_at(x + t * x_bytes, x_bytes // 4), floats_at(out + t * n_out * 4, n_out)
        loops.q4_1(rows, a, b, start, stop)


def q5_0(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rows = byte_rows_at(w, stop, row_bytes)
    for t in range(n):
        a, b = floats_at(x + t * x_bytes, x_bytes // 4), floats_at(out + t * n_out * 4, n_out)
        loops.q5_0(rows, a, b, start, stop)


def q5_1(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rows = byte_rows_at(w, stop, row_bytes)
    for t in range(n):
        a, b = floats_at(x + t * x_bytes, x_bytes // 4), floats_at(out + t * n_out * 4, n_out)
        loops.q5_1(rows, a, b, start, stop)


def q4_k(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rows = byte_rows_at(w, stop, row_bytes)
    for t in range(n):
        a, b = floats_at(x + t * x_bytes, x_bytes // 4), floats_at(out + t * n_out * 4, n_out)
        loops_k.q4_k(rows, a, b, start, stop)


def q5_k(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rows = byte_rows_at(w, stop, row_bytes)
    for t in range(n):
        a, b = floats_at(x + t * x_bytes, x_bytes // 4), floats_at(out + t * n_out * 4, n_out)
        loops_k.q5_k(rows, a, b, start, stop)


def q6_k(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rows = byte_rows_at(w, stop, row_bytes)
    for t in range(n):
        a, b = floats_at(x + t * x_bytes, x_bytes // 4), floats_at(out + t * n_out * 4, n_out)
        loops_k.q6_k(rows, a, b, start, stop)
