"""Small integers packed several to a byte, taken apart many at once.

A byte with two 4-bit codes holds one from each half of a group, or two neighbours: ggml changed
from the second order to the first in May 2023. Everything here works on whole arrays of bytes; for
which type means what by them, see legacyquants.py, kquants.py and tablequants.py.
"""

from __future__ import annotations

import numpy as np


def unpack_planes(packed: np.ndarray, width: int) -> np.ndarray:
    """Codes of `width` bits; the low bits of all bytes come first, then the next bits of all bytes.

    Args:
        packed: (..., n) uint8, the last axis contiguous.
        width: bits per code: 1, 2 or 4.
    Returns:
        (..., 8 // width, n) uint8, a copy.
    """
    n_bytes = packed.shape[-1]
    # A group of n bytes moves as one opaque item: several times faster than n bytes one by one.
    group = np.dtype(f"V{n_bytes}")
    packed = np.ascontiguousarray(packed.view(group)).view(np.uint8)
    planes = np.empty((*packed.shape[:-1], 8 // width, n_bytes), np.uint8)
    groups = planes.view(group)[..., 0]
    for plane in range(8 // width):
        groups[..., plane] = (packed >> plane * width).view(group)[..., 0]
    planes &= (1 << width) - 1
    return planes


def unpack_pairs(packed: np.ndarray) -> np.ndarray:
    """4-bit codes of which each byte holds two neighbours, the first in its low half.

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

    Repeating first makes the arithmetic one long run; broadcasting would start anew every 16 or 32
    numbers, which costs more than the repetition.

    Args:
        values: (...,).
        groups: (..., group_size), only its shape is used.
    Returns:
        (..., group_size), a copy.
    """
    return values.repeat(groups.shape[-1], axis=-1).reshape(groups.shape)
