"""The loops that numba compiles: rows of stored numbers, each times one float32 vector.

Each loop reads the blocks in place in the file; the float32 weights exist only in registers. It
keeps 32 sums side by side ("lanes"), as wide as the processor's vectors or wider, and adds them up
at the end of the row. loops_k.py has the loops for k-quants; kernels.py makes C functions of
them. Tests compare every loop with matmul/product.py.

numba widens integers to 64 bits where it can, which defeats vectorization; hence the casts back to
int32. Source of the layouts: see quants/legacy_quants.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
from numba.extending import intrinsic

from llama_edu.matmul.jit.machine_code import njit
from llama_edu.quants.bitfields import HALF_BITS

#: Multiplications may fuse with additions; nothing else may be reordered: the lanes set the order.
OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract"},
}

#: For loops without blocks, where the compiler may choose the lanes itself.
ANY_ORDER: dict[str, Any] = {**OPTIONS, "fastmath": {"contract", "reassoc", "nsz"}}

#: Half the difference between the exponents of float16 and float32; see f16().
HALF_REBIAS = 2.0**56

inlined = njit(inline="always")


@intrinsic
def _bits_as_float(typing_context, bits):
    """The float32 with the bits of an int32; numba's own view() would go through memory."""

    def code(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), code


@intrinsic
def _stack_of_32(typing_context):
    """Space for 32 float32 on the function's stack, which the compiler turns into registers."""

    def code(context, builder, signature, arguments):
        return cgutils.alloca_once(builder, ir.FloatType(), size=32)

    return types.CPointer(types.float32)(), code


@inlined
def as_float(bits):
    """The float32 that these bits of an int32 stand for."""
    return _bits_as_float(bits)


@inlined
def new_lanes():
    """(32,) float32, uninitialized. np.empty, which is in memory, has a third of the speed."""
    return carray(_stack_of_32(), 32)


@inlined
def clear(lanes):
    """Start a row."""
    for j in range(32):
        lanes[j] = 0


@inlined
def total_of(lanes):
    """End a row."""
    total = np.float32(0)
    for j in range(32):
        total += lanes[j]
    return total


@inlined
def half_bits(bits):
    """2^-112 times a float16 that is given as int16: its bits moved to their place in a float32.

    Infinities and NaNs have an exponent of ones, which is longer in a float32.
    """
    moved = np.int32(np.int32(np.int32(bits) << np.int32(13)) & np.int32(HALF_BITS))
    ones = np.int32(moved & np.int32(0x0F800000)) == np.int32(0x0F800000)
    return as_float(np.int32(moved | np.int32(np.int32(ones) * np.int32(0x70000000))))


@inlined
def half(w, r, o):
    """The float32 of a float16's two bytes."""
    bits = np.int16(np.uint16(w[r, o]) | np.uint16(np.uint16(w[r, o + 1]) << 8))
    return half_bits(bits) * np.float32(2.0**112)


@inlined
def low_nibble(byte):
    """The lower four bits of a byte, as float32."""
    return np.float32(np.int32(np.int32(byte) & np.int32(15)))


@inlined
def high_nibble(byte):
    """The upper four bits of a byte, as float32."""
    return np.float32(np.int32(np.int32(byte) >> np.int32(4)))


@njit(**ANY_ORDER)
def f32(w, x, out, start, stop):
    """float32: what BLAS does, without its threads."""
    for r in range(start, stop):
        total = np.float32(0)
        for j in range(w.shape[1]):
            total += w[r, j] * x[j]
        out[r] = total


@njit(**ANY_ORDER)
def f16(w, x, out, start, stop):
    """float16 as int16: bits moved as in half(); x and the sum contribute 2^56 each."""
    for r in range(start, stop):
        total = np.float32(0)
        for j in range(w.shape[1]):
            total += half_bits(w[r, j]) * x[j]
        out[r] = total * np.float32(HALF_REBIAS)


@njit(**ANY_ORDER)
def bf16(w, x, out, start, stop):
    """bfloat16 as int16: each is the upper half of a float32."""
    for r in range(start, stop):
        total = np.float32(0)
        for j in range(w.shape[1]):
            total += as_float(np.int32(np.int32(w[r, j]) << np.int32(16))) * x[j]
        out[r] = total


@njit(**OPTIONS)
def q8_0(w, x, out, start, stop):
    """Blocks of a float16 scale and 32 signed bytes."""
    lanes = new_lanes()
    for r in range(start, stop):
        clear(lanes)
        for b in range(w.shape[1] // 34):
            o, c = b * 34, b * 32
            scale = half(w, r, o)
            for j in range(32):
                lanes[j] += np.float32(np.int8(w[r, o + 2 + j])) * (x[c + j] * scale)
        out[r] = total_of(lanes)


@njit(**OPTIONS)
def q4_0(w, x, out, start, stop):
    """Blocks of a float16 scale and 32 codes of 4 bits, centered on 8."""
    lanes = new_lanes()
    for r in range(start, stop):
        clear(lanes)
        for b in range(w.shape[1] // 18):
            o, c = b * 18, b * 32
            scale = half(w, r, o)
            shift = np.float32(-8) * scale
            for j in range(16):
                byte = w[r, o + 2 + j]
                lanes[j] += (low_nibble(byte) * scale + shift) * x[c + j]
                lanes[16 + j] += (high_nibble(byte) * scale + shift) * x[c + 16 + j]
        out[r] = total_of(lanes)


@njit(**OPTIONS)
def q4_1(w, x, out, start, stop):
    """Blocks of a float16 scale, a float16 minimum and 32 codes of 4 bits."""
    lanes = new_lanes()
    for r in range(start, stop):
        clear(lanes)
        for b in range(w.shape[1] // 20):
            o, c = b * 20, b * 32
            scale, minimum = half(w, r, o), half(w, r, o + 2)
            for j in range(16):
                byte = w[r, o + 4 + j]
                lanes[j] += (low_nibble(byte) * scale + minimum) * x[c + j]
                lanes[16 + j] += (high_nibble(byte) * scale + minimum) * x[c + 16 + j]
        out[r] = total_of(lanes)


@inlined
def word(w, r, o):
    """Four bytes as a little-endian int32, whose bits are the fifth bits of 32 codes."""
    return np.int32(
        np.uint32(w[r, o]) | (np.uint32(w[r, o + 1]) << 8)
        | (np.uint32(w[r, o + 2]) << 16) | (np.uint32(w[r, o + 3]) << 24)
    )  # fmt: skip


@inlined
def with_fifth(nibble, word, j):
    """A code of five bits as float32: a nibble and bit j of a word."""
    bit = np.int32(np.int32(word >> np.int32(j)) & np.int32(1))
    return nibble + np.float32(np.int32(bit * np.int32(16)))


@njit(**OPTIONS)
def q5_0(w, x, out, start, stop):
    """Blocks of a float16 scale and 32 codes of 5 bits, centered on 16."""
    lanes = new_lanes()
    for r in range(start, stop):
        clear(lanes)
        for b in range(w.shape[1] // 22):
            o, c = b * 22, b * 32
            scale, fifth = half(w, r, o), word(w, r, o + 2)
            shift = np.float32(-16) * scale
            for j in range(16):
                byte = w[r, o + 6 + j]
                low = with_fifth(low_nibble(byte), fifth, j)
                high = with_fifth(high_nibble(byte), fifth, 16 + j)
                lanes[j] += (low * scale + shift) * x[c + j]
                lanes[16 + j] += (high * scale + shift) * x[c + 16 + j]
        out[r] = total_of(lanes)


@njit(**OPTIONS)
def q5_1(w, x, out, start, stop):
    """Blocks of a float16 scale, a float16 minimum and 32 codes of 5 bits."""
    lanes = new_lanes()
    for r in range(start, stop):
        clear(lanes)
        for b in range(w.shape[1] // 24):
            o, c = b * 24, b * 32
            scale, minimum, fifth = half(w, r, o), half(w, r, o + 2), word(w, r, o + 4)
            for j in range(16):
                byte = w[r, o + 8 + j]
                low = with_fifth(low_nibble(byte), fifth, j)
                high = with_fifth(high_nibble(byte), fifth, 16 + j)
                lanes[j] += (low * scale + minimum) * x[c + j]
                lanes[16 + j] += (high * scale + minimum) * x[c + 16 + j]
        out[r] = total_of(lanes)
