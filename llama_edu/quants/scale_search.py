"""The best scale for a group of numbers, found by trying: what the K-quants do and older types not.

A scale that maps the largest number to the highest code wastes little on that number and something
on all others. So each rule here tries several scales, rounds all numbers by each, finds by least
squares the scale that fits these codes best, and keeps the one with the smallest weighted error.

All groups of a chunk are searched at once: arrays are (group_size, n_groups), row i holds number i
of every group. Sums run from row to row in float32, in the order of the C loops, since of two
almost equal errors the order of the additions decides. There must be two groups at least: numpy
would add the numbers of a single one in another order.
Source: make_qkx2_quants, make_q3_quants and make_qx_quants in ggml-quants.c of llama.cpp (PR #1684
and #2707), without weights from an importance matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from llama_edu.quants.c_rounding import of_largest_magnitude, round_within

#: A group in which no magnitude reaches this counts as zeros: GROUP_MAX_EPS in ggml-quants.c.
SMALLEST = np.float32(1e-15)

_STEP = np.float32(0.1)


class Range(NamedTuple):
    """What was found for every group, (n_groups,) float32 each: x is about code * scale - minimum.

    The codes themselves are factor * (x - offset), rounded.
    """

    scales: np.ndarray
    minimums: np.ndarray
    factors: np.ndarray
    offsets: np.ndarray


def scale_and_minimum(
    x: np.ndarray, weights: np.ndarray, highest: int, first: float, n_tries: int, *, absolute: bool
) -> Range:
    """The scale and the minimum (at least 0) with the smallest error, of `n_tries` and a start.

    Args:
        x, weights: (group_size, n_groups) float32.
        highest: the highest code; the lowest is 0.
        first: by how much the first try stretches the highest code; each next one by 0.1 more.
        absolute: whether the error is the sum of weight * |difference|, not of its square.
    """
    lowest, largest = np.minimum(x.min(axis=0), np.float32(0)), x.max(axis=0)
    total, total_x = _sum(weights), _sum(weights * x)
    # where all numbers are equal this is infinite, the scale 0, no try better, and NaN the code 0
    factors, offsets = np.float32(highest) / (largest - lowest), lowest
    scales = np.float32(1) / factors
    codes, scratch, squares = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    _codes_into(codes, x, factors, offsets, highest)
    best = _error(codes, scales, lowest, x, weights, scratch, absolute)
    for i in range(n_tries):
        stretched = np.float32(first) + _STEP * np.float32(i) + np.float32(highest)
        factor = stretched / (largest - lowest)
        _codes_into(codes, x, factor, lowest, highest)
        np.multiply(weights, codes, out=scratch)
        sum_codes = _sum(scratch)
        sum_squares = _sum(np.multiply(scratch, codes, out=squares))
        sum_products = _sum(np.multiply(scratch, x, out=scratch))
        determinant = total * sum_squares - sum_codes * sum_codes
        scale = (total * sum_products - total_x * sum_codes) / determinant
        minimum = (sum_squares * total_x - sum_codes * sum_products) / determinant
        above = minimum > 0
        minimum = np.where(above, np.float32(0), minimum)
        scale = np.where(above, sum_products / sum_squares, scale)
        error = _error(codes, scale, minimum, x, weights, scratch, absolute)
        better = (determinant > 0) & (error < best)
        factors, offsets = np.where(better, factor, factors), np.where(better, lowest, offsets)
        best, scales = np.where(better, error, best), np.where(better, scale, scales)
        lowest = np.where(better, minimum, lowest)  # and so the next tries start from it
    return Range(scales, -lowest, factors, offsets)


def codes_of_range(x: np.ndarray, found: Range, highest: int) -> np.ndarray:
    """(group_size, n_groups) float32: the codes that the search ended with."""
    codes = np.empty_like(x)
    _codes_into(codes, x, found.factors, found.offsets, highest)
    return codes


class Symmetric(NamedTuple):
    """Scale of every group, (n_groups,) float32: x is about code * scale, codes of either sign.

    The codes themselves are factor * x, rounded.
    """

    scales: np.ndarray
    factors: np.ndarray


def symmetric_scale(x: np.ndarray, half: int) -> Symmetric:
    """The scale with the smallest squared error, weighted by x * x, of 19; 0 for zeros.

    Args:
        x: (group_size, n_groups) float32.
        half: codes go from -half to half - 1; at first the largest magnitude gets -half.
    """
    largest = of_largest_magnitude(x)
    weights = x * x
    weighted = weights * x
    codes, scratch = np.empty_like(x), np.empty_like(x)

    def fitted(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        np.multiply(x, factor, out=codes)
        round_within(codes, -half, half - 1)
        sum_products = _sum(np.multiply(weighted, codes, out=scratch))
        np.multiply(weights, codes, out=scratch)
        return sum_products, _sum(np.multiply(scratch, codes, out=scratch))

    factors = np.float32(-half) / largest
    sum_products, sum_squares = fitted(factors)
    scales = np.where(sum_squares == 0, np.float32(0), sum_products / sum_squares)
    best = scales * sum_products
    for i in (*range(-9, 0), *range(1, 10)):
        factor = -(np.float32(half) + _STEP * np.float32(i)) / largest
        sum_products, sum_squares = fitted(factor)
        better = (sum_squares > 0) & (sum_products * sum_products > best * sum_squares)
        scales = np.where(better, sum_products / sum_squares, scales)
        best = np.where(better, scales * sum_products, best)
        factors = np.where(better, factor, factors)
    zeros = np.abs(largest) < SMALLEST
    return Symmetric(np.where(zeros, np.float32(0), scales), factors)


def refined_scale(x: np.ndarray, half: int) -> tuple[np.ndarray, np.ndarray]:
    """A scale whose codes were improved one by one, until none of a group changes, five times.

    Args:
        x: (group_size, n_groups) float32.
        half: codes go from -half to half - 1; at first the largest magnitude gets -half.
    Returns:
        (n_groups,) float32 scales, 0 for zeros, and (group_size, n_groups) float32 codes.
    """
    largest = of_largest_magnitude(x)
    weights = x * x
    weighted = weights * x
    codes = x * (np.float32(-half) / largest)
    round_within(codes, -half, half - 1)
    sum_products, sum_squares = _sum(weighted * codes), _sum(weights * codes * codes)
    for _ in range(5):
        changed = False
        for number, weight, product, code in zip(x, weights, weighted, codes, strict=True):
            others_products = sum_products - product * code
            others_squares = sum_squares - weight * code * code
            best = number * others_squares / others_products
            round_within(best, -half, half - 1)
            new_products = others_products + product * best
            new_squares = others_squares + weight * best * best
            better = (others_products > 0) & (best != code) & (new_squares > 0)
            better &= (
                new_products * new_products * sum_squares
                > sum_products * sum_products * new_squares
            )
            if better.any():
                changed = True
                np.copyto(code, best, where=better)
                np.copyto(sum_products, new_products, where=better)
                np.copyto(sum_squares, new_squares, where=better)
        if not changed:
            break
    has_scale = (sum_squares > 0) & (np.abs(largest) >= SMALLEST)
    return np.where(has_scale, sum_products / sum_squares, np.float32(0)), codes


def _codes_into(
    codes: np.ndarray, x: np.ndarray, factors: np.ndarray, offsets: np.ndarray, highest: int
) -> None:
    np.subtract(x, offsets, out=codes)
    codes *= factors
    round_within(codes, 0, highest)


def _error(
    codes: np.ndarray,
    scales: np.ndarray,
    minimums: np.ndarray,
    x: np.ndarray,
    weights: np.ndarray,
    scratch: np.ndarray,
    absolute: bool,
) -> np.ndarray:
    """(n_groups,) float32: the weighted sum of what code * scale + minimum misses."""
    np.multiply(codes, scales, out=scratch)
    scratch += minimums
    scratch -= x
    if absolute:
        np.abs(scratch, out=scratch)
    else:
        scratch *= scratch
    scratch *= weights
    return _sum(scratch)


def _sum(terms: np.ndarray) -> np.ndarray:
    """(group_size, n_groups) -> (n_groups,), from the first row to the last."""
    total: np.ndarray = np.add.reduce(terms, axis=0)
    return total
