"""What loops must know of each stored type that they multiply as integers."""

from __future__ import annotations

from typing import NamedTuple

from llama_edu.matmul.jit.int8 import instructions


class Layout(NamedTuple):
    """How the numbers of a type are grouped.

    Attributes:
        group: how many numbers share a scale. bias: the middle of the codes, as stored or, for
            signed codes, as the instruction takes them. has_minimums: whether groups add something.
        in_256: whether x is rounded to Q8_K, whose scale is for 256 numbers.
    """

    group: int = 32
    bias: int = 0
    has_minimums: bool = False
    in_256: bool = False


_SIGNED = instructions.signed_bias()
LAYOUTS = {
    "q4_0": Layout(bias=8),
    "q4_1": Layout(has_minimums=True),
    "q5_0": Layout(bias=16),
    "q5_1": Layout(has_minimums=True),
    "q8_0": Layout(bias=_SIGNED),
    "iq4_nl": Layout(bias=_SIGNED),
    "q2_k": Layout(group=16, has_minimums=True, in_256=True),
    "q3_k": Layout(group=16, bias=4, in_256=True),
    "q4_k": Layout(has_minimums=True, in_256=True),
    "q5_k": Layout(has_minimums=True, in_256=True),
    "q6_k": Layout(group=16, bias=32, in_256=True),
    "iq4_xs": Layout(bias=_SIGNED, in_256=True),
}
