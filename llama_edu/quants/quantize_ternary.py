"""From float32 to -1, 0 and 1: of each block of 256 numbers the largest gives the scale.

Whatever is smaller than half of the largest becomes zero. These types are for models that were
trained to have three values (BitNet b1.58); other models are destroyed by them.

Each function fills (n,) blocks from (256, n) float32, row i holding element i of every block.
Source: quantize_row_tq1_0_ref and quantize_row_tq2_0_ref in ggml-quants.c of llama.cpp, PR #8151.
"""

from __future__ import annotations

import numpy as np

from llama_edu.quants.bitfields import pack_planes
from llama_edu.quants.c_rounding import largest_magnitude, reciprocal, rounded_away


def to_tq1_0(x: np.ndarray, stored: np.ndarray) -> None:
    """Five numbers in a byte, which is a fraction of 256 whose base-3 digits they are."""
    digits = _digits(x, stored)
    stored["trits"][:, :32] = _as_fractions(digits[:, :160].reshape(-1, 5, 32))
    stored["trits"][:, 32:] = _as_fractions(digits[:, 160:240].reshape(-1, 5, 16))
    stored["last_trits"] = _as_fractions(digits[:, 240:].reshape(-1, 4, 4))


def to_tq2_0(x: np.ndarray, stored: np.ndarray) -> None:
    """Four numbers in a byte, two bits each."""
    stored["two_bits"] = pack_planes(_digits(x, stored).reshape(-1, 2, 4, 32), 2)


def _digits(x: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """Store the scales; (n, 256) uint8 of 0, 1 and 2."""
    stored["scale"] = scale = largest_magnitude(x)
    return (rounded_away(x * reciprocal(scale)) + np.int8(1)).astype(np.uint8).T


def _as_fractions(digits: np.ndarray) -> np.ndarray:
    """(n, n_digits, n_bytes) -> (n, n_bytes) uint8; the first digit is the most significant.

    Rounding up is what lets a reader get the digits back by multiplying with 3.
    """
    places = 3 ** np.arange(4, 4 - digits.shape[1], -1, dtype=np.uint16)
    number = (digits * places[:, np.newaxis]).sum(axis=1, dtype=np.uint32)
    return ((number * 256 + 242) // 243).astype(np.uint8)
