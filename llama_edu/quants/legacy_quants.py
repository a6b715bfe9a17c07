"""The block types of spring 2023: 16 or 32 numbers share one scale, and in some types a minimum.

A number is (code - half) * scale, or code * scale + minimum. Between March and May 2023 the layout
changed twice under the same names (ggjt v1, v2, v3), so the field names distinguish the layouts:
`pairs` hold neighbors, elements 2j and 2j + 1 in byte j; `nibbles` hold elements j and j + half the
block. Scales went from float32 to float16. k_quants.py has the types of June 2023.

The last functions unpack (..., n_blocks) blocks into codes and scales; blocks.py multiplies.
Source: ggml.c of llama.cpp, changed by PR #1405 (nibble order) and #1508 (float16 scales).
"""

from __future__ import annotations

import numpy as np

from llama_edu.quants.bitfields import (
    Groups,
    gathered,
    unpack_bits,
    unpack_pairs,
    unpack_planes,
    widen,
)

Q4_0 = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
Q4_1 = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("nibbles", "u1", 16)])
Q5_0 = np.dtype([("scale", "<f2"), ("fifth_bits", "<u4"), ("nibbles", "u1", 16)])
Q5_1 = np.dtype(
    [("scale", "<f2"), ("minimum", "<f2"), ("fifth_bits", "<u4"), ("nibbles", "u1", 16)]
)
Q8_0 = np.dtype([("scale", "<f2"), ("bytes", "i1", 32)])

#: ggjt v2, where it differs from v3 and GGUF; q8_0 already had this layout in v1.
Q4_0_V2 = np.dtype([("scale", "<f4"), ("nibbles", "u1", 16)])
Q4_1_V2 = np.dtype([("scale", "<f4"), ("minimum", "<f4"), ("nibbles", "u1", 16)])
Q8_0_V2 = np.dtype([("scale", "<f4"), ("bytes", "i1", 32)])

#: ggml, ggmf and ggjt v1.
Q4_0_V1 = np.dtype([("scale", "<f4"), ("pairs", "u1", 16)])
Q4_1_V1 = np.dtype([("scale", "<f4"), ("minimum", "<f4"), ("pairs", "u1", 16)])
Q5_0_V1 = np.dtype([("scale", "<f2"), ("fifth_bits", "<u4"), ("pairs", "u1", 16)])
Q5_1_V1 = np.dtype(
    [("scale", "<f2"), ("minimum", "<f2"), ("fifth_bits", "<u4"), ("pairs", "u1", 16)]
)
#: Types with blocks of 16 numbers, in use from April 18 to May 12, 2023 (q4_3: to April 28).
Q4_2 = np.dtype([("scale", "<f2"), ("pairs", "u1", 8)])
Q4_3 = np.dtype([("scale", "<f2"), ("minimum", "<f2"), ("pairs", "u1", 8)])


def has_field(blocks: np.ndarray, name: str) -> bool:
    """Whether the blocks of this type have a field of this name."""
    return name in (blocks.dtype.names or ())


def codes_of(blocks: np.ndarray) -> np.ndarray:
    """The 4- or 5-bit codes of blocks in the order of their elements.

    Returns:
        (..., n_blocks, block_size) uint8, a copy.
    """
    if has_field(blocks, "pairs"):
        codes = unpack_pairs(blocks["pairs"])
    else:
        codes = unpack_planes(blocks["nibbles"], 4).reshape(*blocks.shape, -1)
    if has_field(blocks, "fifth_bits"):
        high = unpack_bits(blocks["fifth_bits"])
        high *= 16  # instead of <<= 4, for which numpy has no vectorized loop
        codes |= high
    return codes


def store_codes(codes: np.ndarray, blocks: np.ndarray) -> None:
    """Pack 4- or 5-bit codes into the fields of blocks, the reverse of `codes_of`.

    Args:
        codes: (block_size, n_blocks) uint8: row i holds element i of every block.
        blocks: (n_blocks,); scale and minimum are not changed.
    """
    if has_field(blocks, "fifth_bits"):
        places = np.arange(len(codes), dtype=np.uint32)[:, np.newaxis]
        blocks["fifth_bits"] = np.bitwise_or.reduce((codes >> 4).astype(np.uint32) << places)
        codes = codes & 15
    if has_field(blocks, "pairs"):
        blocks["pairs"] = (codes[0::2] | codes[1::2] * np.uint8(16)).T
    else:
        half = len(codes) // 2
        blocks["nibbles"] = (codes[:half] | codes[half:] * np.uint8(16)).T


def unpack_centered(blocks: np.ndarray) -> Groups:
    """q4_0 q4_2 q5_0, any version: (code - 8) * scale, with five bits (code - 16) * scale."""
    codes = codes_of(blocks).view(np.int8)
    codes -= 16 if has_field(blocks, "fifth_bits") else 8
    return Groups(codes, widen(blocks["scale"]))


def unpack_above_minimum(blocks: np.ndarray) -> Groups:
    """q4_1 q4_3 q5_1, any version: code * scale + minimum."""
    return Groups(codes_of(blocks), widen(blocks["scale"]), widen(blocks["minimum"]))


def unpack_bytes(blocks: np.ndarray) -> Groups:
    """q8_0, any version: code * scale, with signed bytes as codes."""
    return Groups(gathered(blocks["bytes"]), widen(blocks["scale"]))
