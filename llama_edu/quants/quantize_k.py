"""From float32 to the K-quants and back into their bit fields, byte for byte as llama.cpp.

Three steps for each block of 256 numbers: a scale (and a minimum) for every group, searched for by
scale_search.py; these scales rounded to whole multiples of one float16 unit; and every number
rounded once more, now with the scale as it was stored. A group whose stored scale is zero keeps the
codes of the search, which nothing will see.

Each function fills (n,) blocks from (256, n) float32, row i holding element i of every block.
Source: quantize_row_q2_K_ref to quantize_row_q6_K_ref in ggml-quants.c of llama.cpp. The mixtures
of types in files called Q4_K_M or Q3_K_S are choices per tensor, not types.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llama_edu.quants import scale_search
from llama_edu.quants.bitfields import pack_planes, widen
from llama_edu.quants.c_rounding import nearest, round_within

#: From here on, no K-quant can hold a number: 65,504 times the highest code of q6_k, 32, times its
#: highest scale, 128, is less. Below it, no sum of a search overflows.
TOO_LARGE = np.float32(2.0**29)


def to_q2_k(x: np.ndarray, stored: np.ndarray) -> None:
    """16 groups of 16: four bits for the scale and for the minimum, two for a number."""
    groups = _grouped(x, 16)
    found = scale_search.scale_and_minimum(groups, np.abs(groups), 3, -0.5, 16, absolute=True)
    scales, stored["scale"] = _in_units(found.scales, 15, len(stored))
    minimums, stored["minimum"] = _in_units(found.minimums, 15, len(stored))
    packed = scales | minimums * np.uint8(16)
    stored["scales_minimums"] = packed.T
    codes = _codes_above_minimum(groups, stored, packed & 15, packed >> 4, found, 3)
    stored["low_bits"] = pack_planes(codes.reshape(-1, 2, 4, 32), 2)


def to_q3_k(x: np.ndarray, stored: np.ndarray) -> None:
    """16 groups of 16: six bits for the scale, with a sign; three for a number."""
    groups = _grouped(x, 16)
    sizes, kept = scale_search.refined_scale(groups, 4)
    sizes, n = sizes.reshape(16, -1), len(stored)
    largest = _first_of_largest_magnitude(sizes)
    factor = np.where(largest == 0, np.float32(0), np.float32(-32) / largest)
    stored["scale"] = np.where(largest == 0, np.float32(0), np.float32(1) / factor)
    scales = np.clip(nearest(factor * sizes), -32, 31)
    stored_scales = np.where(largest == 0, -32, scales)  # in bits, zeros
    bits = (stored_scales + 32).astype(np.uint8).T
    stored["scales"][:, :8] = pack_planes(bits.reshape(n, 2, 8) & 15, 4)
    stored["scales"][:, 8:] = pack_planes(bits.reshape(n, 4, 4) >> 4, 2)
    kept += 4
    kept[:, np.abs(groups).max(axis=0) < scale_search.SMALLEST] = 0
    units = widen(stored["scale"]) * stored_scales.astype(np.float32)
    codes = _codes_around_zero(groups, units.reshape(-1), 4, kept)
    stored["low_bits"] = pack_planes(codes.reshape(n, 2, 4, 32) & 3, 2)
    stored["high_bits"] = pack_planes(codes.reshape(n, 8, 32) >> 2, 1)


def to_q4_k(x: np.ndarray, stored: np.ndarray) -> None:
    """8 groups of 32: six bits for the scale and for the minimum, four for a number."""
    codes = _six_bit_scales(x, stored, 15, -1.0, 21)
    stored["nibbles"] = pack_planes(codes.reshape(-1, 4, 2, 32), 4)


def to_q5_k(x: np.ndarray, stored: np.ndarray) -> None:
    """As q4_k, with five bits for a number."""
    codes = _six_bit_scales(x, stored, 31, -0.5, 16)
    stored["nibbles"] = pack_planes(codes.reshape(-1, 4, 2, 32) & 15, 4)
    stored["high_bits"] = pack_planes(codes.reshape(-1, 8, 32) >> 4, 1)


def to_q6_k(x: np.ndarray, stored: np.ndarray) -> None:
    """16 groups of 16: eight bits for the scale, with a sign; six for a number."""
    groups = _grouped(x, 16)
    found = scale_search.symmetric_scale(groups, 32)
    sizes, n = found.scales.reshape(16, -1), len(stored)
    largest = _first_of_largest_magnitude(sizes)
    zeros = np.abs(largest) < scale_search.SMALLEST
    factor = np.where(zeros, np.float32(0), np.float32(-128) / largest)
    stored["scale"] = np.where(zeros, np.float32(0), np.float32(1) / factor)
    scales = np.minimum(nearest(factor * sizes), 127).astype(np.int8)
    stored["scales"] = scales.T
    kept = groups * found.factors
    round_within(kept, -32, 31)
    kept += 32
    kept[:, np.abs(groups).max(axis=0) < scale_search.SMALLEST] = 0
    kept.reshape(16, 16, n)[..., zeros] = 0
    units = widen(stored["scale"]) * scales.astype(np.float32)
    codes = _codes_around_zero(groups, units.reshape(-1), 32, kept)
    stored["nibbles"] = pack_planes(codes.reshape(n, 2, 2, 64) & 15, 4)
    stored["high_bits"] = pack_planes(codes.reshape(n, 2, 4, 32) >> 4, 2)


#: The name of a type -> what fills its blocks.
K_CONVERTERS: dict[str, Callable[[np.ndarray, np.ndarray], None]] = {
    "q2_k": to_q2_k,
    "q3_k": to_q3_k,
    "q4_k": to_q4_k,
    "q5_k": to_q5_k,
    "q6_k": to_q6_k,
}


def _six_bit_scales(
    x: np.ndarray, stored: np.ndarray, highest: int, first: float, n_tries: int
) -> np.ndarray:
    """Fill all but the codes of q4_k and q5_k; (n, 256) uint8 codes."""
    groups = _grouped(x, 32)
    mean_square = np.add.reduce(groups * groups, axis=0) / np.float32(32)
    weights = np.sqrt(mean_square) + np.abs(groups)
    found = scale_search.scale_and_minimum(groups, weights, highest, first, n_tries, absolute=False)
    scales, stored["scale"] = _in_units(found.scales, 63, len(stored))
    minimums, stored["minimum"] = _in_units(found.minimums, 63, len(stored))
    scales, minimums = np.minimum(scales, 63), np.minimum(minimums, 63)
    packed = stored["scales_minimums"]  # see _scales_and_minimums in k_quants.py
    packed[:, 0:4] = (scales[:4] | scales[4:] >> 4 << 6).T
    packed[:, 4:8] = (minimums[:4] | minimums[4:] >> 4 << 6).T
    packed[:, 8:] = (scales[4:] & 15 | minimums[4:] << 4).T
    return _codes_above_minimum(groups, stored, scales, minimums, found, highest)


def _grouped(x: np.ndarray, size: int) -> np.ndarray:
    """(256, n) -> (size, 256 / size * n): the same element of all groups in one row; a copy."""
    by_group = x.reshape(256 // size, size, -1).swapaxes(0, 1)
    return np.ascontiguousarray(by_group).reshape(size, -1)


def _in_order(codes: np.ndarray, n: int) -> np.ndarray:
    """(group_size, n_groups) float32 -> (n, 256) uint8, one block per row, a copy."""
    return codes.reshape(len(codes), -1, n).T.astype(np.uint8, order="C").reshape(n, 256)


def _in_units(sizes: np.ndarray, highest: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes of all groups as multiples of one unit per block, of which the largest has `highest`.

    Args:
        sizes: (n_groups * n,) float32.
    Returns:
        (n_groups, n) uint8 and (n,) float32 units.
    """
    sizes = sizes.reshape(-1, n)
    largest = np.maximum(sizes.max(axis=0), np.float32(0))
    factor = np.where(largest > 0, np.float32(highest) / largest, np.float32(0))
    return nearest(factor * sizes).astype(np.uint8), largest / np.float32(highest)


def _first_of_largest_magnitude(sizes: np.ndarray) -> np.ndarray:
    """(n_groups, n) -> (n,): the scale that decides the unit, with its sign."""
    rows = np.abs(sizes).argmax(axis=0)
    found: np.ndarray = np.take_along_axis(sizes, rows[np.newaxis], axis=0)[0]
    return found


def _codes_above_minimum(
    groups: np.ndarray,
    stored: np.ndarray,
    scales: np.ndarray,
    minimums: np.ndarray,
    found: scale_search.Range,
    highest: int,
) -> np.ndarray:
    """(n, 256) uint8: (x + minimum) / scale, rounded, with scale and minimum as they are stored."""
    scale = (widen(stored["scale"]) * scales.astype(np.float32)).reshape(-1)
    minimum = (widen(stored["minimum"]) * minimums.astype(np.float32)).reshape(-1)
    codes = groups + minimum
    codes /= scale
    round_within(codes, 0, highest)
    (flat,) = np.nonzero(scale == 0)
    if flat.size:
        of_flat = scale_search.Range(*(values[flat] for values in found))
        codes[:, flat] = scale_search.codes_of_range(groups[:, flat], of_flat, highest)
    return _in_order(codes, len(stored))


def _codes_around_zero(
    groups: np.ndarray, scale: np.ndarray, half: int, kept: np.ndarray
) -> np.ndarray:
    """(n, 256) uint8: x / scale + half, rounded; where the scale is zero, the codes of `kept`."""
    codes = groups / scale
    round_within(codes, -half, half - 1)
    codes += half
    np.copyto(codes, kept, where=scale == 0)
    return _in_order(codes, len(scale) // (256 // len(groups)))
