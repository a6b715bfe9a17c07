"""Activations rounded as llama.cpp rounds them, against loops over single numbers."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from helpers.random_blocks import random_blocks

from llama_edu.errors import RequestError
from llama_edu.matmul.arithmetic import check_arithmetic, rounded_matmul
from llama_edu.matmul.product import matmul
from llama_edu.quants.blocks import BLOCK_TYPES, block_type_of, dequantize
from llama_edu.quants.quantize import quantize

INT8 = rounded_matmul(matmul, "int8")
INT4 = rounded_matmul(matmul, "int4")


def half(x: float) -> float:
    """Rounded to float16 by another library than numpy."""
    return struct.unpack("<e", struct.pack("<e", x))[0]


def float32(x: float) -> float:
    return struct.unpack("<f", struct.pack("<f", x))[0]


def q8(block, size):
    """Codes and the exact scale of one block."""
    largest = max(abs(v) for v in block)
    factor = float32(127 / largest) if largest else 0.0
    return [round(float32(v * factor)) for v in block], float32(largest / 127)  # half to even


def dot_by_hand(x, w_row, name):
    """One product as llama.cpp's loops compute it: integers inside a block, then the scales."""
    size = 256 if name.endswith("_k") else 32
    weights = dequantize(w_row[np.newaxis])[0].astype(float).tolist()
    total = []
    for b in range(0, len(x), size):
        codes, scale = q8(x[b : b + size], size)
        if name in ("q4_1", "q5_1"):
            block = w_row[b // 32]
            minimum = float(block["minimum"])
            above = [w - minimum for w in weights[b : b + 32]]
            total += [c * half(scale) * a for c, a in zip(codes, above, strict=True)]
            total.append(minimum * half(float32(scale * sum(codes))))
        else:
            if size == 32:
                scale = half(scale)
            else:
                largest = max(abs(v) for v in x[b : b + size])
                scale = float32(1 / float32(127 / largest)) if largest else 0.0
            total += [c * scale * w for c, w in zip(codes, weights[b : b + size], strict=True)]
    return math.fsum(total)


@pytest.mark.parametrize("n_positions", [1, 3])
@pytest.mark.parametrize("name", ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q4_k", "q6_k"])
def test_int8_products_are_those_of_loops_over_blocks(rng, name, n_positions):
    n = 512 if name.endswith("_k") else 224
    w = random_blocks(name, 5, n)
    x = rng.standard_normal((n_positions, n)).astype(np.float32)
    x[0, :32] = 0
    expected = [[dot_by_hand(row.tolist(), w_row, name) for w_row in w] for row in x]
    found = INT8(x, w, 1)
    scale = np.abs(dequantize(w)) @ np.abs(x).max(axis=0)
    assert found.dtype == np.float32 and (np.abs(found - expected) < 1e-6 * scale).all()
    assert np.abs(found - matmul(x, w)).max() > 1e-4 * scale.min()  # and it does round


def test_numbers_too_small_to_divide_127_by_count_as_zeros(rng):
    """127 / x is infinite for them, and infinity times zero once made the product NaN."""
    for name in ("q8_0", "q5_1", "q6_k"):
        w = random_blocks(name, 3, 512)
        x = rng.standard_normal((1, 512)).astype(np.float32)
        x[:, 256:] *= np.float32(1e-39)
        x[:, 300] = 0
        rest = x.copy()
        rest[:, 256:] = 0
        np.testing.assert_array_equal(INT8(x, w, 1), INT8(rest, w, 1))


def test_f32_weights_are_multiplied_by_unrounded_numbers_and_f16_by_f16(rng):
    x = rng.standard_normal((3, 64)).astype(np.float32)
    w = rng.standard_normal((5, 64)).astype(np.float32)
    np.testing.assert_array_equal(INT8(x, w, 1), matmul(x, w))
    rounded = x.astype(np.float16).astype(np.float32)
    w16 = w.astype(np.float16)
    np.testing.assert_array_equal(INT8(x, w16, 1), matmul(rounded, w16))
    bf16 = quantize(w, "bf16")
    np.testing.assert_array_equal(INT8(x, bf16, 1), matmul(dequantize(quantize(x, "bf16")), bf16))


def test_int4_rounds_x_to_the_sixteen_levels_of_march_2023(rng):
    x = rng.standard_normal((2, 96)).astype(np.float32)
    w = quantize(rng.standard_normal((5, 96)).astype(np.float32), "q4_0")
    seen = []
    rounded_matmul(lambda x, w, threads: seen.append(x) or matmul(x, w), "int4")(x, w, 1)
    for block, given in zip(seen[0].reshape(-1, 32), x.reshape(-1, 32), strict=True):
        scale = np.abs(given).max() / np.float32(7)
        codes = block / scale
        np.testing.assert_allclose(codes, np.round(codes), atol=1e-5)
        assert np.abs(block - given).max() <= scale * 0.5001 and np.abs(codes).max() < 7.001
    four = np.linalg.norm(INT4(x, w, 1) - matmul(x, w))
    eight = np.linalg.norm(INT8(x, w, 1) - matmul(x, w))
    assert four > 5 * eight > 0


def test_float32_is_the_product_itself():
    assert rounded_matmul(matmul, "float32") is matmul


def test_every_type_that_can_be_computed_has_its_rule_or_is_refused(rng):
    for name, block in BLOCK_TYPES.items():
        if block.unpack is None:
            continue
        w = random_blocks(name, 3, 2 * block.block_size)
        if name in ("q4_3",):
            with pytest.raises(RequestError, match=r"not defined for weights of type q4_3"):
                check_arithmetic("int8", [w])
            continue
        check_arithmetic("int8", [w])
        assert block_type_of(w).name == name
        x = rng.standard_normal((1, 2 * block.block_size)).astype(np.float32)
        if block.block_size >= 32:
            assert np.isfinite(INT8(x, w, 1)).all()


def test_an_unknown_arithmetic_and_types_without_a_rule_are_refused(rng):
    with pytest.raises(RequestError, match="arithmetic is 'int16', expected one of auto, float32"):
        check_arithmetic("int16", [])
    w = random_blocks("q8_0", 3, 64)
    with pytest.raises(RequestError, match=r"arithmetic 'int4': not defined .* q8_0, expected f32"):
        check_arithmetic("int4", [w])
    check_arithmetic("float32", [w])
