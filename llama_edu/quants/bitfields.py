"""Small integers packed several to a byte, unpacked many at once; and their scales.

A byte with two 4-bit codes holds one from each half of a group, or two neighbors: ggml changed
from the second order to the first in May 2023. Everything here works on whole arrays of bytes; for
what each type stores in them, see legacy_quants.py, k_quants.py and table_quants.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Groups(NamedTuple):
    """The contents of quantized blocks: a number is code * scale, or code * scale + minimum.

    Attributes:
        codes: (..., group_size) int8 or uint8, C-contiguous.
        scales: one float32 per group, in the same order, of any shape.
        minimums: like `scales`, or None.
    """

    codes: np.ndarray
    scales: np.ndarray
    minimums: np.ndarray | None = None


def widen(x: np.ndarray) -> np.ndarray:
    """float16 numbers as float32, exactly, a copy; float32 numbers as they are.

    Args:
        x: (...,) float16 of any byte order and strides, or float32.
    """
    if x.dtype.itemsize == 4:
        return x.astype(np.float32)
    numbers = np.empty(x.shape, np.float32)
    widen_into(x, numbers)
    return numbers


def widen_into(x: np.ndarray, numbers: np.ndarray) -> None:
    """float16 to float32 by moving bits: six times as fast as numpy's conversion, and as exact.

    Exponent and fraction are shifted to their places in a float32. The exponent is then too small
    by 112, the difference of the two biases; a multiplication corrects that, also for subnormals.

    Args:
        x: (...,) float16 of any byte order. numbers: (...,) float32, to be overwritten.
    """
    order = x.dtype.byteorder
    signed = x.view(f"{order}i2")
    bits = numbers.view(np.int32)
    bits[...] = signed
    bits <<= 13
    bits &= HALF_BITS
    numbers *= np.float32(2.0**112)
    if has_infinity_or_nan(x):
        numbers[...] = x  # the bit shift does not handle their exponent


#: The bits of a float16 after the shift; the others are copies of the sign, which a shift leaves.
HALF_BITS = -0x70002000


def has_infinity_or_nan(x: np.ndarray) -> bool:
    """Whether float16 numbers hold any; two fast passes over the bits."""
    if x.size == 0:
        return False
    order = x.dtype.byteorder
    return bool(x.view(f"{order}i2").max() >= 0x7C00 or x.view(f"{order}u2").max() >= 0xFC00)


def gathered(field: np.ndarray) -> np.ndarray:
    """One field of bytes from every block, gathered into one run.

    A group of n bytes moves as one opaque item: several times faster than n bytes one by one.

    Args:
        field: (..., n) of one byte each, the last axis contiguous.
    Returns:
        (..., n) of the same dtype, C-contiguous; a copy unless it already was.
    """
    group = np.dtype(f"V{field.shape[-1]}")
    return np.ascontiguousarray(field.view(group)).view(field.dtype)


def unpack_planes(packed: np.ndarray, width: int) -> np.ndarray:
    """Codes of `width` bits; the low bits of all bytes come first, then the next bits of all bytes.

    Args:
        packed: (..., n) uint8, the last axis contiguous.
        width: bits per code: 1, 2 or 4.
    Returns:
        (..., 8 // width, n) uint8, a copy.
    """
    packed = gathered(packed)
    n_bytes, n_planes = packed.shape[-1], 8 // width
    group = np.dtype(f"V{n_bytes}")
    planes = np.empty((*packed.shape[:-1], n_planes, n_bytes), np.uint8)
    groups = planes.view(group)[..., 0]
    for plane in range(n_planes):
        codes = packed >> plane * width if plane else packed
        if plane < n_planes - 1:
            codes = codes & (1 << width) - 1
        groups[..., plane] = codes.view(group)[..., 0]
    return planes


def pack_planes(codes: np.ndarray, width: int) -> np.ndarray:
    """Codes of `width` bits into bytes, the reverse of `unpack_planes`.

    Args:
        codes: (..., 8 // width, n) uint8 below 2**width.
        width: bits per code: 1, 2 or 4.
    Returns:
        (..., n) uint8, a copy.
    """
    packed = codes[..., 0, :].copy()
    for plane in range(1, 8 // width):
        packed |= codes[..., plane, :] * np.uint8(1 << plane * width)  # see unpack_q3_k for the *
    return packed


def unpack_pairs(packed: np.ndarray) -> np.ndarray:
    """4-bit codes, two neighbors per byte, the first in the low half.

    Args:
        packed: (..., n) uint8.
    Returns:
        (..., 2 * n) uint8, a copy.
    """
    wide = packed.astype("<u2")
    wide |= wide << 4
    wide &= 0x0F0F
    return wide.view(np.uint8)


def unpack_bits(words: np.ndarray) -> np.ndarray:
    """The 32 bits of each word, the least significant first.

    Args:
        words: (...,) uint32 of any byte order.
    Returns:
        (..., 32) uint8 of 0 and 1, a copy.
    """
    in_bytes = np.ascontiguousarray(words, "<u4").reshape(-1).view(np.uint8)
    return np.unpackbits(in_bytes, bitorder="little").reshape(*words.shape, 32)


def spread(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """One value per group, repeated for every number of the group.

    Repeating first makes the arithmetic one long run; broadcasting would start a new run every 16
    or 32 numbers, which costs more than the repetition.

    Args:
        values: (...,).
        groups: (..., group_size), only its shape is used.
    Returns:
        (..., group_size), a copy.
    """
    return values.repeat(groups.shape[-1], axis=-1).reshape(groups.shape)
