"""The codes of k-quants and iq4_xs as vectors, from the bytes of a block of 256 numbers.

Each function of (w, r, o, s) gives the 32 codes of sub-block s, 0 to 7, of the block at byte o. As
in blocks.py, codes are unsigned and not centered, those of iq4_xs are signed. Where the loop over s
is unrolled, a shift costs no more than in code written out. Layouts: quants/k_quants.py.
"""

from __future__ import annotations

import numpy as np

from llama_edu.matmul.jit.int8.blocks import table_values
from llama_edu.matmul.jit.int8.lanes import (
    both,
    bytes_of,
    joined,
    left,
    masked,
    minus,
    right,
)
from llama_edu.matmul.jit.int8.vectors import (
    bytes_32,
    word,
)
from llama_edu.matmul.jit.loops import inlined


@inlined
def q2_k_codes(w, r, o, s):
    """2 bits: four planes in each 32 bytes."""
    return masked(right(bytes_32(w, r, o + 16 + 32 * (s // 4)), 2 * (s % 4)), 3)


@inlined
def q3_k_codes(w, r, o, s):
    """3 bits, centered on 4: two in planes as for q2_k, the third is bit s of 32 other bytes."""
    low = masked(right(bytes_32(w, r, o + 32 + 32 * (s // 4)), 2 * (s % 4)), 3)
    return both(low, left(masked(right(bytes_32(w, r, o), s), 1), 2))


@inlined
def q4_k_codes(w, r, o, s):
    """4 bits: the lower halves of 32 bytes, then the upper halves."""
    return masked(right(bytes_32(w, r, o + 16 + 32 * (s // 2)), 4 * (s % 2)), 15)


@inlined
def q5_k_codes(w, r, o, s):
    """5 bits: four as for q4_k, the fifth is bit s of 32 other bytes."""
    low = masked(right(bytes_32(w, r, o + 48 + 32 * (s // 2)), 4 * (s % 2)), 15)
    return both(low, left(masked(right(bytes_32(w, r, o + 16), s), 1), 4))


@inlined
def q6_k_codes(w, r, o, s):
    """6 bits, centered on 32: halves of 64 bytes, and four planes of 2 bits in 32 other bytes."""
    half, part = s // 4, s % 4
    low = bytes_32(w, r, o + 64 * half + 32 * (part % 2))
    top = bytes_32(w, r, o + 128 + 32 * half)
    codes = masked(right(low, 4 * (part // 2)), 15)
    return both(codes, left(masked(right(top, 2 * part), 3), 4))


@inlined
def iq4_xs_codes(w, r, o, s):
    """Signed values of a table."""
    return table_values(w, r, o + 8 + 16 * s)


@inlined
def six_bit_scales(w, r, o):
    """Eight scales of 6 bits, as int32; q4_k and q5_k pack them with as many minimums at o."""
    first, last = word(w, r, o), word(w, r, o + 8)
    top = (last & np.uint32(0x0F0F0F0F)) | ((first >> np.uint32(2)) & np.uint32(0x30303030))
    return bytes_of(np.uint32(first & np.uint32(0x3F3F3F3F)), np.uint32(top))


@inlined
def six_bit_minimums(w, r, o):
    """The eight minimums there."""
    first, last = word(w, r, o + 4), word(w, r, o + 8)
    top = ((last >> np.uint32(4)) & np.uint32(0x0F0F0F0F)) | (
        (first >> np.uint32(2)) & np.uint32(0x30303030)
    )
    return bytes_of(np.uint32(first & np.uint32(0x3F3F3F3F)), np.uint32(top))


@inlined
def q3_k_scales(w, r, o):
    """Sixteen scales of 6 bits less 32, as int32: nibbles in 8 bytes at o, the rest in 4."""
    low, low_2, top = word(w, r, o), word(w, r, o + 4), word(w, r, o + 8)
    first = bytes_of(_six_bits(low, top, 0, 0), _six_bits(low_2, top, 0, 2))
    last = bytes_of(_six_bits(low, top, 4, 4), _six_bits(low_2, top, 4, 6))
    return minus(joined(first, last), 32)


@inlined
def _six_bits(low, top, place, top_place):
    """Four numbers of 6 bits: a nibble of each byte of one word, two bits of those of another."""
    nibble = (low >> np.uint32(place)) & np.uint32(0x0F0F0F0F)
    rest = (top >> np.uint32(top_place)) & np.uint32(0x03030303)
    return np.uint32(nibble | (rest << np.uint32(4)))


@inlined
def iq4_xs_scale(w, r, o, s):
    """The scale of sub-block s, 6 bits less 32."""
    low = (w[r, o + 4 + s // 2] >> (4 * (s % 2))) & 15
    top = (w[r, o + 2 + s // 4] >> (2 * (s % 4))) & 3
    return np.int32((low | (top << 4)) - 32)
