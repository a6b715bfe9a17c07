"""Block types without evenly spaced codes: values from a table, or only -1, 0 and 1.

iq4_nl and iq4_xs have sixteen values that are closer together near zero, as weights are; mxfp4 has
the sixteen codes of a 4-bit float and a power of two as its scale; tq2_0 and tq1_0 store -1, 0 and
1 in two bits each, or five of them in a byte. legacy_quants.py and k_quants.py have the types with
even steps.

Each function unpacks (..., n_blocks) blocks into codes and scales; blocks.py multiplies.
Sources: ggml-quants.c of llama.cpp, PR #5590 (iq4_nl), #5747 (iq4_xs), #8151 (tq1_0, tq2_0) and
#15091 (mxfp4); OCP Microscaling Formats (MX) Specification 1.0 for mxfp4.
"""

from __future__ import annotations

import numpy as np

from llama_edu.quants.bitfields import Groups, unpack_planes, widen

IQ4_NL = np.dtype([("scale", "<f2"), ("table_nibbles", "u1", 16)])
IQ4_XS = np.dtype(
    [
        ("scale", "<f2"),
        ("scales_high", "<u2"),
        ("scales_low", "u1", 4),
        ("table_nibbles", "u1", (8, 16)),
    ]
)
TQ1_0 = np.dtype([("trits", "u1", 48), ("last_trits", "u1", 4), ("scale", "<f2")])
TQ2_0 = np.dtype([("two_bits", "u1", (2, 32)), ("scale", "<f2")])
MXFP4 = np.dtype([("exponent", "u1"), ("float_nibbles", "u1", 16)])


def _byte_table(values: list[int]) -> bytes:
    """Sixteen small integers as a table for bytes.translate, which needs 256."""
    return np.array(values, np.int8).tobytes().ljust(256, b"\0")


#: The values of iq4_nl and iq4_xs.
UNEVEN = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]

_UNEVEN = _byte_table(UNEVEN)

# Twice the e2m1 values 0 0.5 1 1.5 2 3 4 6, so that they are integers; the scale is halved.
_TWICE_E2M1 = _byte_table([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12])


def unpack_iq4_nl(blocks: np.ndarray) -> Groups:
    """32 numbers: table[code] * scale."""
    codes = _looked_up(blocks["table_nibbles"], _UNEVEN).reshape(*blocks.shape, 32)
    return Groups(codes, widen(blocks["scale"]))


def unpack_iq4_xs(blocks: np.ndarray) -> Groups:
    """256 numbers in 8 groups: table[code] * (scale * (6 bits - 32))."""
    codes = _looked_up(blocks["table_nibbles"], _UNEVEN).reshape(*blocks.shape, 8, 32)
    low = unpack_planes(blocks["scales_low"][..., np.newaxis], 4).reshape(*blocks.shape, 8)
    high = blocks["scales_high"][..., np.newaxis] >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    counts = (low | high << 4).astype(np.float32) - 32
    return Groups(codes, widen(blocks["scale"])[..., np.newaxis] * counts)


def unpack_mxfp4(blocks: np.ndarray) -> Groups:
    """32 numbers: e2m1[code] * 2 ** (exponent - 127)."""
    codes = _looked_up(blocks["float_nibbles"], _TWICE_E2M1).reshape(*blocks.shape, 32)
    half_scale = np.ldexp(np.float32(1), blocks["exponent"].astype(np.int32) - 128)
    return Groups(codes, half_scale)


def unpack_tq1_0(blocks: np.ndarray) -> Groups:
    """256 numbers: (digit - 1) * scale; byte / 256 is a fraction whose base-3 digits are the codes.

    Multiplying by three moves the next digit out at the top of the byte; the overflow is intended.
    The first 32 bytes hold five digits each, then 16 hold five, then 4 hold four.
    """
    runs = (
        (blocks["trits"][..., :32], 5),
        (blocks["trits"][..., 32:], 5),
        (blocks["last_trits"], 4),
    )
    codes = np.empty((*blocks.shape, 256), np.int8)
    start = 0
    for packed, n_digits in runs:
        powers = 3 ** np.arange(n_digits, dtype=np.uint8)
        shifted = packed[..., np.newaxis, :] * powers[:, np.newaxis]
        digits = (shifted.astype(np.uint16) * 3 >> 8).astype(np.int8) - 1
        stop = start + n_digits * packed.shape[-1]
        codes[..., start:stop] = digits.reshape(*blocks.shape, -1)
        start = stop
    return Groups(codes, widen(blocks["scale"]))


def unpack_tq2_0(blocks: np.ndarray) -> Groups:
    """256 numbers: (code - 1) * scale."""
    codes = unpack_planes(blocks["two_bits"], 2).view(np.int8).reshape(*blocks.shape, 256)
    codes -= 1
    return Groups(codes, widen(blocks["scale"]))


def _looked_up(nibbles: np.ndarray, table: bytes) -> np.ndarray:
    """(..., 2, n) int8: table entries of the low nibbles of (..., n) bytes, then of the high ones.

    bytes.translate is twice as fast here as indexing a numpy table, which widens every index to 64
    bits first.
    """
    codes = unpack_planes(nibbles, 4)
    return np.frombuffer(codes.tobytes().translate(table), np.int8).reshape(codes.shape)
