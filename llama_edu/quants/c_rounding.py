"""How the C routines of ggml round, which is not how numpy rounds, for whole arrays.

Casts cut off, roundf rounds half away from zero; the K-quants round half to even by adding a large
number. What C makes of numbers that fit no integer is part of the rule: equal bytes need it.
"""

from __future__ import annotations

import numpy as np

#: 1.5 * 2**23: a float32 of this size has no bits left behind the point.
_WHOLE = np.float32(12582912)


def largest_magnitude(x: np.ndarray) -> np.ndarray:
    """(block_size, n) -> (n,), NaN where the block holds one."""
    largest: np.ndarray = np.abs(np.maximum(x.max(axis=0), -x.min(axis=0)))
    return largest


def of_largest_magnitude(x: np.ndarray) -> np.ndarray:
    """The number of largest magnitude in every block, with its sign; the first one on ties."""
    highest, lowest = x.max(axis=0), x.min(axis=0)
    found: np.ndarray = np.where(highest > -lowest, highest, lowest)
    (ties,) = np.nonzero(highest == -lowest)
    if ties.size:
        found[ties] = x[np.abs(x[:, ties]).argmax(axis=0), ties]
    return found + np.float32(0)  # a block of zeros gives 0.0, so its scale becomes -0.0


def reciprocal(scale: np.ndarray) -> np.ndarray:
    """1 / scale, 0 for a scale of 0."""
    return np.where(scale == 0, np.float32(0), np.float32(1) / scale)


def rounded_away(x: np.ndarray) -> np.ndarray:
    """Half away from zero, as C's roundf; int8."""
    whole = np.trunc(x)
    twice_the_rest = (x - whole) * np.float32(2)  # exact, and cut off it is -1, 0 or 1
    whole += np.trunc(twice_the_rest, out=twice_the_rest)
    return cut_off(whole)


def cut_off(x: np.ndarray) -> np.ndarray:
    """The integer part as int8; 0 where x is not finite, as a C cast gives on x86.

    Such x occur in blocks of numbers below 1e-37: the reciprocal of their scale is infinite.
    """
    if not np.isfinite(x).all():
        x = np.where(np.isfinite(x), x, np.float32(0))
    return x.astype(np.int8)


def nearest(x: np.ndarray) -> np.ndarray:
    """Half to even, as nearest_int of ggml-quants.c: int32, a copy.

    The sum with 1.5 * 2**23 is rounded to a whole number, which stands in its low 23 bits. From
    2**22 on those bits are something else, and for NaN they are 0: as in C.
    """
    bits = (x + _WHOLE).view(np.int32)
    bits &= 0x007FFFFF
    bits -= 0x00400000
    return bits


def round_within(x: np.ndarray, lowest: int, highest: int) -> None:
    """`nearest`, then limited, in place: x stays float32 and now holds whole numbers.

    Args:
        x: (...) float32, C-contiguous. lowest, highest: limits of the result, inclusive.
    """
    x += _WHOLE
    bits = x.view(np.int32)
    bits &= 0x007FFFFF
    bits |= 0x4B000000  # the exponent of 2**23: the whole number plus 1.5 * 2**23 again
    np.maximum(x, _WHOLE + np.float32(lowest), out=x)
    np.minimum(x, _WHOLE + np.float32(highest), out=x)
    x -= _WHOLE
