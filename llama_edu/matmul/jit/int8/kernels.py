"""The int8 loops as C functions of addresses, in the form that jit/kernels.py explains."""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit import loops
from llama_edu.matmul.jit.int8 import rounding, rows, rows_k
from llama_edu.matmul.jit.int8.lanes import rounded_to_half
from llama_edu.matmul.jit.memory import byte_rows_at, float_rows_at, floats_at

# ruff: noqa: D103


def to_q8_1(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rounding.to_q8_1(float_rows_at(x, n, x_bytes // 4), byte_rows_at(out, n, row_bytes))


def to_q8_k_16(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rounding.to_q8_k(float_rows_at(x, n, x_bytes // 4), byte_rows_at(out, n, row_bytes), 16)


def to_q8_k_32(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    rounding.to_q8_k(float_rows_at(x, n, x_bytes // 4), byte_rows_at(out, n, row_bytes), 32)


def halved_f16(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    """X rounded to float16, times 2 ** 56."""
    a, b = floats_at(x, n * x_bytes // 4), floats_at(out, n * x_bytes // 4)
    for i in range(len(a)):
        b[i] = rounded_to_half(a[i]) * np.float32(loops.HALF_REBIAS)


def q4_0(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows.q4_0(byte_rows_at(w, stop, row_bytes), a, b, start, stop)


def q4_1(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows.q4_1(byte_rows_at(w, stop, row_bytes), a, b, start, stop)


def q5_0(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows.q5_0(byte_rows_at(w, stop, row_bytes), a, b, start, stop)


def q5_1(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows.q5_1(byte_rows_at(w, stop, row_bytes), a, b, start, stop)


def q8_0(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows.q8_0(byte_rows_at(w, stop, row_bytes), a, b, start, stop)


def iq4_nl(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows.iq4_nl(byte_rows_at(w, stop, row_bytes), a, b, start, stop)


def q2_k(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows_k.q2_k(byte_rows_at(w, stop, row_bytes), a, b, start, stop)


def q3_k(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows_k.q3_k(byte_rows_at(w, stop, row_bytes), a, b, start, stop)


def q4_k(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows_k.q4_k(byte_rows_at(w, stop, row_bytes), a, b, start, stop)


def q5_k(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows_k.q5_k(byte_rows_at(w, stop, row_bytes), a, b, start, stop)


def q6_k(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows_k.q6_k(byte_rows_at(w, stop, row_bytes), a, b, start, stop)


def iq4_xs(w, row_bytes, x, x_bytes, n, out, n_out, start, stop):
    a, b = byte_rows_at(x, n, x_bytes), float_rows_at(out, n, n_out)
    rows_k.iq4_xs(byte_rows_at(w, stop, row_bytes), a, b, start, stop)
