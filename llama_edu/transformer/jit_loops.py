"""The loops that numba compiles: one row of stored blocks against one float32 vector.

Each loop keeps one sum per column of a block ("lanes") and adds them up at the end of the row. The
offset of a code (8, 16 or 32) and the minimum of a block multiply the sum of x over the block,
which is the same for every row and computed once.

numba widens integers to 64 bits wherever it may, and then the vector instructions are gone; hence
the casts back to int32. Source of the layouts: see files/legacyquants.py and files/kquants.py.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

#: What `w` is viewed as where that is not bytes: pairs of 16-bit numbers.
UNITS = {"f16": np.dtype(np.int32), "bf16": np.dtype(np.int32)}

#: Columns over which x is summed beforehand; 1 where no sums are needed.
SUM_SIZES = {
    "f16": 1, "bf16": 1, "q8_0": 1, "q4_0": 32, "q4_1": 32, "q5_0": 32, "q5_1": 32,
    "q4_k": 32, "q5_k": 32, "q6_k": 16,
}  # fmt: skip

_OPTIONS = {"cache": True, "nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}


def prepare(x: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A vector in the order in which a loop reads it, and its sums over blocks.

    Args:
        x: (n,) float32. name: the stored type.
    Returns:
        (n,) float32, C-contiguous: for pairs, all even elements and then all odd ones; and
        (n / size,) float32, the sums, or one zero where the type needs none.
    """
    if name in UNITS:
        x = x.reshape(-1, 2).T.reshape(-1)
    size = SUM_SIZES[name]
    sums = np.zeros(1, np.float32) if size == 1 else x.reshape(-1, size).sum(axis=1)
    return np.ascontiguousarray(x), sums


@intrinsic
def _as_float(typing_context, bits):
    """The float32 whose bits an int32 has; numba's own view() would go through memory."""

    def code(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), code


@njit(inline="always")
def _half(low, high):
    """The float32 of a float16's two bytes: its bits moved, the exponent mended by 2^112."""
    bits = np.int32(np.int32(np.int16(np.uint16(low) | np.uint16(np.uint16(high) << 8))) << 13)
    return _as_float(np.int32(bits & np.int32(-0x70002000))) * np.float32(2.0**112)


@njit(**_OPTIONS)
def f16(w, x, sums, out, start, stop):
    """float16 weights, two in an int32: bits moved as in _half, 2^112 comes at the end."""
    n = w.shape[1]
    even, odd = np.empty(16, np.float32), np.empty(16, np.float32)
    keep = np.int32(-0x70002000)
    for r in range(start, stop):
        even[:] = 0
        odd[:] = 0
        for b in range(n // 16):
            c = b * 16
            for j in range(16):
                pair = w[r, c + j]
                low = np.int32(np.int32(np.int32(pair << np.int32(16)) >> np.int32(3)) & keep)
                high = np.int32(np.int32(pair >> np.int32(3)) & keep)
                even[j] += _as_float(low) * x[c + j]
                odd[j] += _as_float(high) * x[n + c + j]
        total = np.float32(0)
        for j in range(16):
            total += even[j] + odd[j]
        for b in range(n - n % 16, n):
            low = np.int32(np.int32(np.int32(w[r, b] << np.int32(16)) >> np.int32(3)) & keep)
            high = np.int32(np.int32(w[r, b] >> np.int32(3)) & keep)
            total += _as_float(low) * x[b] + _as_float(high) * x[n + b]
        out[r] = total * np.float32(2.0**112)


@njit(**_OPTIONS)
def bf16(w, x, sums, out, start, stop):
    """bfloat16 weights, two in an int32: each is the upper half of a float32."""
    n = w.shape[1]
    even, odd = np.empty(16, np.float32), np.empty(16, np.float32)
    upper = np.int32(-0x10000)
    for r in range(start, stop):
        even[:] = 0
        odd[:] = 0
        for b in range(n // 16):
            c = b * 16
            for j in range(16):
                pair = w[r, c + j]
                even[j] += _as_float(np.int32(pair << np.int32(16))) * x[c + j]
                odd[j] += _as_float(np.int32(pair & upper)) * x[n + c + j]
        total = np.float32(0)
        for j in range(16):
            total += even[j] + odd[j]
        for b in range(n - n % 16, n):
            low = _as_float(np.int32(w[r, b] << np.int32(16)))
            total += low * x[b] + _as_float(np.int32(w[r, b] & upper)) * x[n + b]
        out[r] = total


@njit(**_OPTIONS)
def q8_0(w, x, sums, out, start, stop):
    """Blocks of a float16 scale and 32 signed bytes."""
    n_blocks = w.shape[1] // 34
    lanes = np.empty(32, np.float32)
    for r in range(start, stop):
        lanes[:] = 0
        for b in range(n_blocks):
            o = b * 34
            scale = _half(w[r, o], w[r, o + 1])
            for j in range(32):
                code = np.float32(np.int8(w[r, o + 2 + j]))
                lanes[j] += code * (x[b * 32 + j] * scale)
        total = np.float32(0)
        for j in range(32):
            total += lanes[j]
        out[r] = total


@njit(**_OPTIONS)
def q4_0(w, x, sums, out, start, stop):
    """Blocks of a float16 scale and 32 codes of 4 bits, centred on 8."""
    n_blocks = w.shape[1] // 18
    low, high = np.empty(16, np.float32), np.empty(16, np.float32)
    for r in range(start, stop):
        low[:] = 0
        high[:] = 0
        offsets = np.float32(0)
        for b in range(n_blocks):
            o, c = b * 18, b * 32
            scale = _half(w[r, o], w[r, o + 1])
            offsets += scale * sums[b]
            for j in range(16):
                byte = np.int32(w[r, o + 2 + j])
                low[j] += np.float32(np.int32(byte & np.int32(15))) * (x[c + j] * scale)
                high[j] += np.float32(np.int32(byte >> np.int32(4))) * (x[c + 16 + j] * scale)
        total = np.float32(-8) * offsets
        for j in range(16):
            total += low[j] + high[j]
        out[r] = total


@njit(**_OPTIONS)
def q4_1(w, x, sums, out, start, stop):
    """Blocks of a float16 scale, a float16 minimum and 32 codes of 4 bits."""
    n_blocks = w.shape[1] // 20
    low, high = np.empty(16, np.float32), np.empty(16, np.float32)
    for r in range(start, stop):
        low[:] = 0
        high[:] = 0
        total = np.float32(0)
        for b in range(n_blocks):
            o, c = b * 20, b * 32
            scale = _half(w[r, o], w[r, o + 1])
            total += _half(w[r, o + 2], w[r, o + 3]) * sums[b]
            for j in range(16):
                byte = np.int32(w[r, o + 4 + j])
                low[j] += np.float32(np.int32(byte & np.int32(15))) * (x[c + j] * scale)
                high[j] += np.float32(np.int32(byte >> np.int32(4))) * (x[c + 16 + j] * scale)
        for j in range(16):
            total += low[j] + high[j]
        out[r] = total


@njit(inline="always")
def _word(row, o):
    """Four bytes as a little-endian int32; its bits are the fifth bits of 32 codes."""
    return np.int32(
        np.uint32(row[o]) | (np.uint32(row[o + 1]) << 8)
        | (np.uint32(row[o + 2]) << 16) | (np.uint32(row[o + 3]) << 24)
    )  # fmt: skip


@njit(**_OPTIONS)
def q5_0(w, x, sums, out, start, stop):
    """Blocks of a float16 scale and 32 codes of 5 bits, centred on 16."""
    n_blocks = w.shape[1] // 22
    low, high = np.empty(16, np.float32), np.empty(16, np.float32)
    for r in range(start, stop):
        low[:] = 0
        high[:] = 0
        offsets = np.float32(0)
        for b in range(n_blocks):
            o, c = b * 22, b * 32
            scale = _half(w[r, o], w[r, o + 1])
            fifth = _word(w[r], o + 2)
            offsets += scale * sums[b]
            for j in range(16):
                byte = np.int32(w[r, o + 6 + j])
                one = np.int32(
                    np.int32(np.int32(fifth >> np.int32(j)) & np.int32(1)) * np.int32(16)
                )
                two = np.int32(np.int32(fifth >> np.int32(j + 16)) & np.int32(1))
                code = np.int32(np.int32(byte & np.int32(15)) | one)
                low[j] += np.float32(code) * (x[c + j] * scale)
                code = np.int32(np.int32(byte >> np.int32(4)) | np.int32(two * np.int32(16)))
                high[j] += np.float32(code) * (x[c + 16 + j] * scale)
        total = np.float32(-16) * offsets
        for j in range(16):
            total += low[j] + high[j]
        out[r] = total


@njit(**_OPTIONS)
def q5_1(w, x, sums, out, start, stop):
    """Blocks of a float16 scale, a float16 minimum and 32 codes of 5 bits."""
    n_blocks = w.shape[1] // 24
    low, high = np.empty(16, np.float32), np.empty(16, np.float32)
    for r in range(start, stop):
        low[:] = 0
        high[:] = 0
        total = np.float32(0)
        for b in range(n_blocks):
            o, c = b * 24, b * 32
            scale = _half(w[r, o], w[r, o + 1])
            total += _half(w[r, o + 2], w[r, o + 3]) * sums[b]
            fifth = _word(w[r], o + 4)
            for j in range(16):
                byte = np.int32(w[r, o + 8 + j])
                one = np.int32(
                    np.int32(np.int32(fifth >> np.int32(j)) & np.int32(1)) * np.int32(16)
                )
                two = np.int32(np.int32(fifth >> np.int32(j + 16)) & np.int32(1))
                code = np.int32(np.int32(byte & np.int32(15)) | one)
                low[j] += np.float32(code) * (x[c + j] * scale)
                code = np.int32(np.int32(byte >> np.int32(4)) | np.int32(two * np.int32(16)))
                high[j] += np.float32(code) * (x[c + 16 + j] * scale)
        for j in range(16):
            total += low[j] + high[j]
        out[r] = total


@njit(inline="always")
def _scale_and_minimum(row, o, s):
    """The 6-bit scale and minimum of sub-block s, packed into 12 bytes at o."""
    if s < 4:
        return np.float32(row[o + s] & 63), np.float32(row[o + s + 4] & 63)
    scale = (row[o + s + 4] & 15) | ((row[o + s - 4] >> 6) << 4)
    minimum = (row[o + s + 4] >> 4) | ((row[o + s] >> 6) << 4)
    return np.float32(scale), np.float32(minimum)


@njit(**_OPTIONS)
def q4_k(w, x, sums, out, start, stop):
    """Super-blocks of 8 times 32 codes of 4 bits, each 32 with a scale and a minimum of 6 bits."""
    n_blocks = w.shape[1] // 144
    lanes = np.empty(32, np.float32)
    for r in range(start, stop):
        lanes[:] = 0
        total = np.float32(0)
        row = w[r]
        for b in range(n_blocks):
            o = b * 144
            unit, unit_minimum = _half(row[o], row[o + 1]), _half(row[o + 2], row[o + 3])
            for g in range(4):
                low, low_minimum = _scale_and_minimum(row, o + 4, 2 * g)
                high, high_minimum = _scale_and_minimum(row, o + 4, 2 * g + 1)
                low, high = unit * low, unit * high
                c, q = b * 256 + g * 64, o + 16 + g * 32
                total -= unit_minimum * (
                    low_minimum * sums[c // 32] + high_minimum * sums[c // 32 + 1]
                )
                for j in range(32):
                    byte = np.int32(row[q + j])
                    lanes[j] += np.float32(np.int32(byte & np.int32(15))) * (x[c + j] * low)
                    lanes[j] += np.float32(np.int32(byte >> np.int32(4))) * (x[c + 32 + j] * high)
        for j in range(32):
            total += lanes[j]
        out[r] = total


@njit(**_OPTIONS)
def q5_k(w, x, sums, out, start, stop):
    """Like q4_k with a fifth bit: bit s of byte l belongs to element l of sub-block s."""
    n_blocks = w.shape[1] // 176
    lanes = np.empty(32, np.float32)
    for r in range(start, stop):
        lanes[:] = 0
        total = np.float32(0)
        row = w[r]
        for b in range(n_blocks):
            o = b * 176
            unit, unit_minimum = _half(row[o], row[o + 1]), _half(row[o + 2], row[o + 3])
            for g in range(4):
                low, low_minimum = _scale_and_minimum(row, o + 4, 2 * g)
                high, high_minimum = _scale_and_minimum(row, o + 4, 2 * g + 1)
                low, high = unit * low, unit * high
                c, q = b * 256 + g * 64, o + 48 + g * 32
                total -= unit_minimum * (
                    low_minimum * sums[c // 32] + high_minimum * sums[c // 32 + 1]
                )
                one, two = np.int32(2 * g), np.int32(2 * g + 1)
                for j in range(32):
                    byte, bits = np.int32(row[q + j]), np.int32(row[o + 16 + j])
                    fifth = np.int32(np.int32(np.int32(bits >> one) & np.int32(1)) * np.int32(16))
                    code = np.int32(np.int32(byte & np.int32(15)) + fifth)
                    lanes[j] += np.float32(code) * (x[c + j] * low)
                    fifth = np.int32(np.int32(np.int32(bits >> two) & np.int32(1)) * np.int32(16))
                    code = np.int32(np.int32(byte >> np.int32(4)) + fifth)
                    lanes[j] += np.float32(code) * (x[c + 32 + j] * high)
        for j in range(32):
            total += lanes[j]
        out[r] = total


@njit(**_OPTIONS)
def q6_k(w, x, sums, out, start, stop):
    """Super-blocks of 16 times 16 codes of 6 bits, centred on 32, each 16 with a signed scale."""
    n_blocks = w.shape[1] // 210
    lanes = np.empty(32, np.float32)
    scaled = np.empty(128, np.float32)
    for r in range(start, stop):
        lanes[:] = 0
        offsets = np.float32(0)
        row = w[r]
        for b in range(n_blocks):
            o = b * 210
            unit = _half(row[o + 208], row[o + 209])
            for h in range(2):
                c = b * 256 + h * 128
                for s in range(8):
                    scale = unit * np.float32(np.int8(row[o + 192 + h * 8 + s]))
                    offsets += scale * sums[c // 16 + s]
                    for j in range(16):
                        scaled[s * 16 + j] = x[c + s * 16 + j] * scale
                low, high = o + h * 64, o + 128 + h * 32
                for j in range(32):
                    one, two = np.int32(row[low + j]), np.int32(row[low + 32 + j])
                    bits = np.int32(row[high + j])
                    top = np.int32(np.int32(bits & np.int32(3)) * np.int32(16))
                    code = np.int32(np.int32(one & np.int32(15)) + top)
                    lanes[j] += np.float32(code) * scaled[j]
                    top = np.int32(
                        np.int32(np.int32(bits >> np.int32(2)) & np.int32(3)) * np.int32(16)
                    )
                    code = np.int32(np.int32(two & np.int32(15)) + top)
                    lanes[j] += np.float32(code) * scaled[32 + j]
                    top = np.int32(
                        np.int32(np.int32(bits >> np.int32(4)) & np.int32(3)) * np.int32(16)
                    )
                    code = np.int32(np.int32(one >> np.int32(4)) + top)
                    lanes[j] += np.float32(code) * scaled[64 + j]
                    top = np.int32(np.int32(bits >> np.int32(6)) * np.int32(16))
                    code = np.int32(np.int32(two >> np.int32(4)) + top)
                    lanes[j] += np.float32(code) * scaled[96 + j]
        total = np.float32(-32) * offsets
        for j in range(32):
            total += lanes[j]
        out[r] = total


LOOPS = {
    "f16": f16, "bf16": bf16, "q8_0": q8_0, "q4_0": q4_0, "q4_1": q4_1, "q5_0": q5_0,
    "q5_1": q5_1, "q4_k": q4_k, "q5_k": q5_k, "q6_k": q6_k,
}  # fmt: skip
