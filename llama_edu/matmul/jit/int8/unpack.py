"""Rows of stored blocks as bytes and numbers, which tiles.py multiplies.

Every function takes w (rows, bytes of a row) uint8 and a first row, and fills for the rows from
there on

- codes: (rows, n) uint8, in order; signed ones as the processor's instruction takes them
  (instructions.py);
- scales, minimums: (rows, n / 32) float32, what each group of codes is multiplied by and what it
  adds; minimums have no columns for types that have none.
"""

from __future__ import annotations

from llama_edu.matmul.jit.int8.blocks import five_bits, nibbles, table_values
from llama_edu.matmul.jit.int8.lanes import (
    without_sign,
)
from llama_edu.matmul.jit.int8.vectors import (
    bytes_32,
    half,
    store,
)
from llama_edu.matmul.jit.loops import OPTIONS
from llama_edu.matmul.jit.machine_code import njit


@njit(**OPTIONS)
def q4_0(w, start, codes, scales, minimums):
    """Blocks of a float16 scale and 32 codes of 4 bits."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 18):
            o = b * 18
            store(codes, i, b * 32, nibbles(w, r, o + 2))
            scales[i, b] = half(w, r, o)


@njit(**OPTIONS)
def q4_1(w, start, codes, scales, minimums):
    """Blocks of a float16 scale, a float16 minimum and 32 codes of 4 bits."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 20):
            o = b * 20
            store(codes, i, b * 32, nibbles(w, r, o + 4))
            scales[i, b] = half(w, r, o)
            minimums[i, b] = half(w, r, o + 2)


@njit(**OPTIONS)
def q5_0(w, start, codes, scales, minimums):
    """Blocks of a float16 scale and 32 codes of 5 bits."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 22):
            o = b * 22
            store(codes, i, b * 32, five_bits(w, r, o + 2))
            scales[i, b] = half(w, r, o)


@njit(**OPTIONS)
def q5_1(w, start, codes, scales, minimums):
    """Blocks of a float16 scale, a float16 minimum and 32 codes of 5 bits."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 24):
            o = b * 24
            store(codes, i, b * 32, five_bits(w, r, o + 4))
            scales[i, b] = half(w, r, o)
            minimums[i, b] = half(w, r, o + 2)


@njit(**OPTIONS)
def q8_0(w, start, codes, scales, minimums):
    """Blocks of a float16 scale and 32 signed bytes."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 34):
            o = b * 34
            store(codes, i, b * 32, without_sign(bytes_32(w, r, o + 2)))
            scales[i, b] = half(w, r, o)


@njit(**OPTIONS)
def iq4_nl(w, start, codes, scales, minimums):
    """Blocks of a float16 scale and 32 places in a table."""
    for i in range(len(codes)):
        r = start + i
        for b in range(w.shape[1] // 18):
            o = b * 18
            store(codes, i, b * 32, without_sign(table_values(w, r, o + 2)))
            scales[i, b] = half(w, r, o)
