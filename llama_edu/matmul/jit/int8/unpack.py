"""16 rows of stored blocks side by side, so that tiles.py can work on all of them at once.

For each four columns, the codes of 16 rows follow each other: 64 bytes. Beside them stand the
scales of 16 rows for each group, and what each group adds to its numbers, if the type has that.
Every function takes w (rows, bytes of a row) uint8 with at least 16 rows and a first row, and fills

- packed: (n_tiles, 16 n) uint8;
- scales, minimums: (n_tiles, 16 n / 32) float32; minimums have no columns for other types.

The last tile may begin earlier, to end with the matrix. Signed codes become what the processor's
instruction takes (instructions.py).
"""

from __future__ import annotations

from numba import njit

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
