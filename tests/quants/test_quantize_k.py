"""K-quants and ternary types: equal to a loop over single numbers, and good at what they are for.

tests/slow/test_quantizers.py compares with llama.cpp itself.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from helpers.reference_k_blocks import quantized_k_block
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu.bundled import bundled_checkpoint
from llama_edu.errors import FormatError
from llama_edu.loading import load
from llama_edu.quants.bitfields import pack_planes, unpack_planes
from llama_edu.quants.blocks import BLOCK_TYPES, dequantize
from llama_edu.quants.quantize import quantize

K_TYPES = ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k"]
TERNARY = ["tq1_0", "tq2_0"]


def twin(name: str, x: np.ndarray) -> bytes:
    return b"".join(quantized_k_block(name, row) for row in x.reshape(-1, 256).tolist())


def of_many_kinds() -> np.ndarray:
    """(19, 256) float32: each row takes another way through the searches."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((19, 256)).astype(np.float32)
    x[0], x[1], x[2] = 0, 3, -2
    x[3, ::2] = -0.0
    x[4] *= np.repeat(10.0 ** rng.integers(-20, 4, 16), 16)
    x[5] *= 10.0 ** rng.integers(-30, 3, 256)
    x[6] = np.round(x[6] * 4) / 4
    x[7] = np.repeat(x[7, ::16], 16)
    x[8] *= 1e-16  # groups below and above what counts as zero
    x[9] *= 1e-42
    x[10, 16:] = 0
    x[11] = np.abs(x[11])
    x[12] = -np.abs(x[12]) * np.repeat(10.0 ** rng.integers(-6, 3, 8), 32) - 1000
    # rare: rows in which the last of all tries wins, for q2_k, q4_k, q5_k and q3_k
    x[13:17] = np.random.default_rng(0).random((707, 256))[[46, 706, 199, 48]] - 0.5
    x[17, 16:32] = -x[17, :16]  # scales of either sign, one of them one step too large to store
    x[17, 32:] *= 0.25
    x[18] = x[18].clip(-3, 3) * 5e-15  # not zeros, but all scales count as zero
    return x


@pytest.mark.parametrize("name", K_TYPES + TERNARY)
def test_blocks_are_those_of_the_slow_twin(name):
    x = of_many_kinds()
    blocks = quantize(x, name)
    assert blocks.shape == (19, 1) and blocks.dtype == BLOCK_TYPES[name].dtype
    assert [b.tobytes() == twin(name, row) for b, row in zip(blocks, x, strict=True)] == [True] * 19


@settings(max_examples=12, deadline=None)
@given(
    groups=st.lists(
        st.lists(
            st.floats(-60000, 60000, width=32)
            | st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-38, -3e-41, 1e-15, 2.0**-50]),
            min_size=1,
            max_size=32,
        ),
        min_size=1,
        max_size=16,
    )
)
def test_blocks_of_strange_numbers_are_those_of_the_slow_twin(groups):
    x = np.concatenate([np.resize(np.array(group, np.float32), 16) for group in groups])
    x = np.resize(x, 256)
    for name in K_TYPES + TERNARY:
        assert quantize(x, name).tobytes() == twin(name, x), name


@pytest.mark.parametrize("name", TERNARY)
def test_ternary_blocks_are_those_of_gguf_py_byte_for_byte(name):
    gguf = pytest.importorskip("gguf")
    x = np.random.default_rng(2).standard_normal((37, 1280)).astype(np.float32)
    x[:5] = np.round(x[:5])
    expected = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name.upper()])
    assert quantize(x, name).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", K_TYPES + TERNARY)
def test_large_tensors_are_cut_into_chunks_without_a_seam(name):
    x = np.random.default_rng(3).standard_normal((5, 8192 + 256)).astype(np.float32)
    whole = quantize(x, name)
    assert whole[3].tobytes() == quantize(x[3], name).tobytes()
    assert whole.tobytes() == quantize(np.asfortranarray(x), name).tobytes()
    assert whole[4, -1].tobytes() == quantize(x[4, -256:], name).tobytes()


@pytest.mark.parametrize("name", K_TYPES)
def test_no_number_moves_by_more_than_a_step_of_its_group(name):
    x = np.random.default_rng(4).standard_normal((16, 512)).astype(np.float32)
    error = np.abs(dequantize(quantize(x, name)) - x).reshape(16, -1, 16)
    groups = x.reshape(error.shape)
    bits = int(name[1])
    if name in ("q3_k", "q6_k"):
        span = np.abs(groups).max(axis=-1, keepdims=True) * 2
    else:  # the range of 16 numbers, where the group may have 32
        wide = x.reshape(16, -1, 32)
        span = wide.max(axis=-1, keepdims=True) - np.minimum(wide.min(axis=-1, keepdims=True), 0)
        span = span.repeat(2, axis=1)
    assert (error <= span / (2**bits - 1)).all()


def test_more_bits_mean_less_error_on_the_bundled_models_weights():
    with load(bundled_checkpoint()) as llama:
        numbers = dequantize(llama.model.weights["layers.2.w_down"])
    errors = {
        name: float(np.sqrt(np.mean((dequantize(quantize(numbers, name)) - numbers) ** 2)))
        for name in ["tq1_0", *K_TYPES, "q8_0"]
    }
    print({name: f"{error:.6f}" for name, error in errors.items()})
    bits = [BLOCK_TYPES[name].bits_per_weight for name in errors]
    assert bits == sorted(bits)
    assert all(fewer > 1.5 * more for fewer, more in pairwise(errors.values()))


@pytest.mark.parametrize(("searched", "plain"), [("q4_k", "q4_0"), ("q5_k", "q5_0")])
def test_a_search_finds_better_scales_than_the_largest_number_gives(searched, plain):
    x = np.random.default_rng(6).standard_normal((64, 512)).astype(np.float32)
    assert BLOCK_TYPES[searched].bits_per_weight == BLOCK_TYPES[plain].bits_per_weight

    def error(name: str) -> float:
        return float(np.square(dequantize(quantize(x, name)) - x).mean())

    assert error(searched) < 0.8 * error(plain)


def test_a_ternary_block_keeps_what_is_ternary_and_drops_less_than_half_of_the_largest():
    x = np.zeros(256, np.float32)
    x[:5] = [0.75, -0.75, 0.375, -0.375, 0.374]
    for name in TERNARY:
        found = dequantize(quantize(x, name))
        assert found[:6].tolist() == [0.75, -0.75, 0.75, -0.75, 0, 0]
        assert quantize(found, name).tobytes() == quantize(x, name).tobytes()


@pytest.mark.parametrize("name", K_TYPES + TERNARY)
def test_zeros_stay_zeros(name):
    assert not dequantize(quantize(np.zeros((3, 256), np.float32), name)).any()


@pytest.mark.parametrize("width", [1, 2, 4])
def test_packed_planes_are_unpacked_to_the_same_codes(width):
    codes = np.random.default_rng(1).integers(0, 2**width, (3, 8 // width, 17), np.uint8)
    assert np.array_equal(unpack_planes(pack_planes(codes, width), width), codes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", K_TYPES + TERNARY)
def test_a_number_that_is_none_is_named_with_its_place(name, bad):
    x = np.ones((3, 40_192), np.float32)
    x[2, 77] = bad
    sentence = rf"wk: as {name}: number 80,461 is {bad:g}, expected a finite number; the weights"
    with pytest.raises(FormatError, match=sentence):
        quantize(x, name, where="wk")


@pytest.mark.parametrize("large", [3e8, 1e13, 1e20, 3e38])
@pytest.mark.parametrize("name", K_TYPES + TERNARY)
def test_a_number_too_large_for_the_scales_is_refused_however_large(name, large):
    """From about 1e13 sums of the searches overflow, and a scale would be taken for zero."""
    x = np.ones((2, 512), np.float32)
    x[1, 300] = -large
    sentence = rf"as {name}: number 812 is -{large:g}, too large for the float16"
    with pytest.raises(FormatError, match=sentence.replace("+", r"\+")):
        quantize(x, name)


@pytest.mark.parametrize(
    ("name", "fits"),
    [("q2_k", 2.9e6), ("q3_k", 8e6), ("q4_k", 6e7), ("q5_k", 1.2e8), ("q6_k", 2.6e8),
     ("tq1_0", 65_504), ("tq2_0", 65_504)],
)  # fmt: skip
def test_the_largest_number_depends_on_how_many_codes_and_scales_there_are(name, fits):
    x = np.linspace(0, fits, 256, dtype=np.float32)
    assert np.isfinite(dequantize(quantize(x, name))).all()
    with pytest.raises(FormatError, match="too large for the float16"):
        quantize(x * np.float32(1.2), name)
