"""The K-quants: 256 numbers in 8 or 16 groups, whose scales are themselves small integers.

Where the types of legacyquants.py spend a float on every 32 numbers, a block here spends one or two
on 256, and 4, 6 or 8 bits on the scale of each group. q2_k, q4_k and q5_k also subtract a minimum
per group. The bits of one number may lie in two fields: two or four low ones here, the rest there.

Each function fills `numbers`, (..., n_blocks, 256) float32, from (..., n_blocks) blocks. The scale
of a group is rounded to float32 before it meets a code, as in the original.
Source: k_quants.c of llama.cpp, PR #1684; the same layout in ggjt v3 and GGUF.
"""

from __future__ import annotations

import numpy as np

from llama_edu.files.bitfields import spread, unpack_planes

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


def unpack_q2_k(blocks: np.ndarray, numbers: np.ndarray) -> None:
    """16 groups: code * (scale * 4 bits) - (minimum * 4 bits)."""
    groups = numbers.reshape(*blocks.shape, 16, 16)
    groups[...] = unpack_planes(blocks["low_bits"], 2).reshape(groups.shape)
    packed = blocks["scales_minimums"]
    groups *= spread(_in_units_of(blocks["scale"], packed & 0x0F), groups)
    groups -= spread(_in_units_of(blocks["minimum"], packed >> 4), groups)


def unpack_q3_k(blocks: np.ndarray, numbers: np.ndarray) -> None:
    """16 groups: (code - 4) * (scale * (6 bits - 32)), a code's top bit apart from the rest."""
    groups = numbers.reshape(*blocks.shape, 16, 16)
    codes = unpack_planes(blocks["high_bits"], 1)
    codes *= 4  # a shift by two, which numpy does ten times more slowly on bytes
    codes |= unpack_planes(blocks["low_bits"], 2).reshape(codes.shape)
    codes = codes.view(np.int8)
    codes -= 4
    groups[...] = codes.reshape(groups.shape)
    low, high = blocks["scales"][..., :8], blocks["scales"][..., 8:]
    scales = unpack_planes(low, 4).reshape(*blocks.shape, 16)
    scales |= unpack_planes(high, 2).reshape(*blocks.shape, 16) << 4
    groups *= spread(_in_units_of(blocks["scale"], scales.view(np.int8) - 32), groups)


def unpack_q4_k(blocks: np.ndarray, numbers: np.ndarray) -> None:
    """8 groups: code * (scale * 6 bits) - (minimum * 6 bits)."""
    groups = numbers.reshape(*blocks.shape, 8, 32)
    groups[...] = unpack_planes(blocks["nibbles"], 4).reshape(groups.shape)
    _scale_and_shift(groups, blocks)


def unpack_q5_k(blocks: np.ndarray, numbers: np.ndarray) -> None:
    """As q4_k, with a fifth bit per code; that of group s is bit s of each byte of `high_bits`."""
    groups = numbers.reshape(*blocks.shape, 8, 32)
    codes = unpack_planes(blocks["high_bits"], 1)
    codes *= 16  # a shift by four
    codes |= unpack_planes(blocks["nibbles"], 4).reshape(codes.shape)
    groups[...] = codes
    _scale_and_shift(groups, blocks)


def unpack_q6_k(blocks: np.ndarray, numbers: np.ndarray) -> None:
    """16 groups: (code - 32) * (scale * 8 bits), a code's top two bits apart from the rest."""
    groups = numbers.reshape(*blocks.shape, 16, 16)
    codes = unpack_planes(blocks["high_bits"], 2).reshape(groups.shape)
    codes *= 16  # a shift by four
    codes |= unpack_planes(blocks["nibbles"], 4).reshape(groups.shape)
    codes = codes.view(np.int8)
    codes -= 32
    groups[...] = codes
    groups *= spread(_in_units_of(blocks["scale"], blocks["scales"]), groups)


def _in_units_of(unit: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(..., n) float32: how much `counts` of the block's own float16 `unit` are."""
    return unit.astype(np.float32)[..., np.newaxis] * counts.astype(np.float32)


def _scale_and_shift(groups: np.ndarray, blocks: np.ndarray) -> None:
    """Multiply by the scales and subtract the minimums of q4_k and q5_k, in place.

    The twelve bytes hold eight scales and eight minimums of six bits. Bytes 0-3 and 4-7 hold the
    first four of each in their low six bits; bytes 8-11 hold the low nibbles of the last four of
    each, whose top two bits fill the top of bytes 0-7.
    """
    packed = blocks["scales_minimums"]
    scales_low, minimums_low, last = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    scales = np.concatenate([scales_low & 63, last & 15 | scales_low >> 2 & 48], axis=-1)
    minimums = np.concatenate([minimums_low & 63, last >> 4 | minimums_low >> 2 & 48], axis=-1)
    groups *= spread(_in_units_of(blocks["scale"], scales), groups)
    groups -= spread(_in_units_of(blocks["minimum"], minimums), groups)
