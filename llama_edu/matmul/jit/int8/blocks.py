"""The codes of 32 numbers of each stored type as one vector, from the bytes of a block.

rows.py and unpack.py share them. Codes are unsigned and not centered; only those of q8_0 and of the
table are signed. Layouts: quants/legacy_quants.py and quants/table_quants.py.
"""

from __future__ import annotations

from llama_edu.matmul.jit.int8.lanes import (
    bits,
    both,
    joined,
    left,
    looked_up,
    masked,
    right,
    right_in_second_half,
)
from llama_edu.matmul.jit.int8.vectors import (
    bytes_16,
    bytes_16_twice,
    uneven,
    word,
)
from llama_edu.matmul.jit.loops import inlined


@inlined
def nibbles(w, r, o):
    """32 codes of 4 bits: the lower halves of 16 bytes at o, then the upper halves."""
    return masked(right_in_second_half(bytes_16_twice(w, r, o), 4), 15)


@inlined
def five_bits(w, r, o):
    """32 codes of 5 bits: a word at o with the fifth bits, then nibbles."""
    return both(nibbles(w, r, o + 4), left(bits(word(w, r, o)), 4))


@inlined
def table_values(w, r, o):
    """32 signed values of the table of iq4_nl and iq4_xs, whose places are nibbles at o."""
    packed = bytes_16(w, r, o)
    return joined(looked_up(uneven(), masked(packed, 15)), looked_up(uneven(), right(packed, 4)))
