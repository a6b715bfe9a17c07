"""The K-quants: 256 numbers in 8 or 16 groups, whose scales are themselves small integers.

The types of legacy_quants.py spend a float or two on every 16 or 32 numbers; a block here spends
one or two on 256, and 4, 6 or 8 bits on the scale of each group. q2_k, q4_k and q5_k also subtract
a minimum per group. The bits of one number may be in two fields: two or four low bits in one, the
rest in another.

Each function unpacks (..., n_blocks) blocks into codes and scales; blocks.py multiplies. The scale
of a group is rounded to float32 before it multiplies a code, as in the original.
Source: k_quants.c of llama.cpp, PR #1684; the same layout in ggjt v3 and GGUF.
"""

from __future__ import annotations

import numpy as np

from llama_edu.quants.bitfields import Groups, gathered, spread, unpack_planes, widen

Q2_K = np.dtype(
    [
        ("scales_minimums", "u1", 16),
        ("low_bits", "u1", (2, 32)),
        ("scale", "<f2"),
        ("minimum", "<f2"),
    ]
)
Q3_K = np.dtype(
    [("high_bits", "u1", 32), ("low_bits", "u1", (2, 32)), ("scales", "u1", 12), ("scale", "<f2")]
)
Q4_K = np.dtype(
    [
        ("scale", "<f2"),
        ("minimum", "<f2"),
        ("scales_minimums", "u1", 12),
        ("nibbles", "u1", (4, 32)),
    ]
)
Q5_K = np.dtype(
    [
        ("scale", "<f2"),
        ("minimum", "<f2"),
        ("scales_minimums", "u1", 12),
        ("high_bits", "u1", 32),
        ("nibbles", "u1", (4, 32)),
    ]
)
Q6_K = np.dtype(
    [
        ("nibbles", "u1", (2, 64)),
        ("high_bits", "u1", (2, 32)),
        ("scales", "i1", 16),
        ("scale", "<f2"),
    ]
)


def unpack_q2_k(blocks: np.ndarray) -> Groups:
    """16 groups: code * (scale * 4 bits) - (minimum * 4 bits)."""
    codes = unpack_planes(blocks["low_bits"], 2).reshape(*blocks.shape, 16, 16)
    packed = blocks["scales_minimums"]
    scales = _in_units_of(blocks["scale"], packed & 0x0F)
    return Groups(codes, scales, -_in_units_of(blocks["minimum"], packed >> 4))


def unpack_q3_k(blocks: np.ndarray) -> Groups:
    """16 groups: (code - 4) * (scale * (6 bits - 32)); a code's top bit is in its own field."""
    codes = unpack_planes(blocks["high_bits"], 1)
    codes *= 4  # a shift by two: on bytes, numpy's own shift is ten times slower
    codes |= unpack_planes(blocks["low_bits"], 2).reshape(codes.shape)
    codes = codes.view(np.int8).reshape(*blocks.shape, 16, 16)
    codes -= 4
    low, high = blocks["scales"][..., :8], blocks["scales"][..., 8:]
    scales = unpack_planes(low, 4).reshape(*blocks.shape, 16)
    scales |= unpack_planes(high, 2).reshape(*blocks.shape, 16) << 4
    return Groups(codes, _in_units_of(blocks["scale"], scales.view(np.int8) - 32))


def unpack_q4_k(blocks: np.ndarray) -> Groups:
    """8 groups: code * (scale * 6 bits) - (minimum * 6 bits)."""
    codes = unpack_planes(blocks["nibbles"], 4).reshape(*blocks.shape, 8, 32)
    return Groups(codes, *_scales_and_minimums(blocks))


def unpack_q5_k(blocks: np.ndarray) -> Groups:
    """As q4_k, with a fifth bit per code: for group s, bit s of each byte of `high_bits`."""
    codes = unpack_planes(blocks["high_bits"], 1)
    codes *= 16  # a shift by four
    codes |= unpack_planes(blocks["nibbles"], 4).reshape(codes.shape)
    return Groups(codes, *_scales_and_minimums(blocks))


def unpack_q6_k(blocks: np.ndarray) -> Groups:
    """16 groups: (code - 32) * (scale * 8 bits); a code's top two bits are in their own field."""
    codes = unpack_planes(blocks["high_bits"], 2)
    codes *= 16  # a shift by four
    codes |= unpack_planes(blocks["nibbles"], 4).reshape(codes.shape)
    codes = codes.view(np.int8).reshape(*blocks.shape, 16, 16)
    codes -= 32
    return Groups(codes, _in_units_of(blocks["scale"], blocks["scales"]))


def _in_units_of(unit: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(..., n) float32: `counts` times the block's float16 `unit`."""
    sizes = counts.astype(np.float32)
    sizes *= spread(widen(unit), sizes)
    return sizes


def _scales_and_minimums(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scales of q4_k and q5_k, (..., 8) float32, and the negated minimums, to be added.

    The twelve bytes hold eight scales and eight minimums of six bits. Bytes 0-3 and 4-7 hold the
    first four of each in their low six bits; bytes 8-11 hold the low nibbles of the last four of
    each, whose top two bits fill the top of bytes 0-7. Four bytes are processed as one word; the
    masks remove what a shift moves across byte borders.
    """
    words = gathered(blocks["scales_minimums"]).view(np.uint32)
    scales_low, minimums_low, last = words[..., 0], words[..., 1], words[..., 2]
    counts = np.empty((*blocks.shape, 4), np.uint32)
    np.bitwise_and(scales_low, 0x3F3F3F3F, out=counts[..., 0])
    np.bitwise_or(last & 0x0F0F0F0F, scales_low >> 2 & 0x30303030, out=counts[..., 1])
    np.bitwise_and(minimums_low, 0x3F3F3F3F, out=counts[..., 2])
    np.bitwise_or(last >> 4 & 0x0F0F0F0F, minimums_low >> 2 & 0x30303030, out=counts[..., 3])
    sizes = counts.view(np.uint8).astype(np.float32).reshape(*blocks.shape, 2, 8)
    units = np.stack([blocks["scale"], -blocks["minimum"]], axis=-1)
    sizes *= spread(widen(units), sizes)
    return sizes[..., 0, :], sizes[..., 1, :]
