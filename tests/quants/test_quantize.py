"""Float32 becomes the blocks that the tools of each month wrote: C rules by hand, and gguf-py."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.reference_blocks import FOUR_AND_FIVE_BITS, quantized_block
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu.errors import FormatError, RequestError, ShapeError
from llama_edu.quants.blocks import BLOCK_TYPES, dequantize
from llama_edu.quants.legacy_quants import codes_of
from llama_edu.quants.quantize import RULES, quantize
from llama_edu.quants.repack import can_repack, repack, repack_is_exact

BLOCK_NAMES = [*FOUR_AND_FIVE_BITS, "q8_0", "q8_0_v2"]
NAMES_AND_RULES = [(name, None) for name in BLOCK_NAMES] + [
    (name, rules) for name, all_rules in RULES.items() for rules in all_rules
]


def weights(shape: tuple[int, ...], seed: int = 3) -> np.ndarray:
    """Normal numbers of all sizes; many went through float16, so that many are equal."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    x[::2] = x[::2].astype(np.float16)
    x[1::3] = np.round(x[1::3] * 4) / 4
    x *= np.float32(2.0) ** rng.integers(-12, 8, (shape[0], 1)).astype(np.float32)
    x[0, :64] = 0
    x[0, 64:96] = -0.0
    x[0, 96:128:2] = -0.0
    x[0, 97:160:2] = 0
    x[0, 128:160:2] = 0
    x[0, 129:160:4] = -0.0
    return x


def twin(name: str, x: np.ndarray, rules: str | None = None) -> bytes:
    block_size = BLOCK_TYPES[name].block_size
    return b"".join(quantized_block(name, row, rules) for row in x.reshape(-1, block_size).tolist())


@pytest.mark.parametrize(("name", "rules"), NAMES_AND_RULES)
def test_blocks_are_those_of_the_slow_twin(name, rules):
    x = weights((31, 256))
    blocks = quantize(x, name, rules)
    assert blocks.shape == (31, 256 // BLOCK_TYPES[name].block_size)
    assert blocks.dtype == BLOCK_TYPES[name].dtype
    assert blocks.tobytes() == twin(name, x, rules)


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(
        st.floats(-60000, 60000, width=32)
        | st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1.5, 1e-38, -3e-41, 65504 * 0.5**20]),
        min_size=32,
        max_size=32,
    )
)
def test_blocks_of_strange_numbers_are_those_of_the_slow_twin(numbers):
    x = np.array(numbers, np.float32)
    for name, rules in NAMES_AND_RULES:
        assert quantize(x, name, rules).tobytes() == twin(name, x, rules), (name, rules)


@pytest.mark.parametrize("name", ["f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"])
def test_blocks_are_those_of_gguf_py_byte_for_byte(name):
    gguf = pytest.importorskip("gguf")
    # a block that begins with -0.0 gets the scale 0.0 there, -0.0 in the C code and here
    x = weights((37, 1280))[1:]
    expected = gguf.quants.quantize(x, gguf.GGMLQuantizationType[name.upper()])
    assert quantize(x, name).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["f32", "f16", "bf16", *BLOCK_NAMES])
def test_large_tensors_are_cut_into_chunks_without_a_seam(name):
    x = weights((9, 8192 + 512))
    whole = quantize(x, name)
    assert whole[7].tobytes() == quantize(x[7], name).tobytes()
    assert whole.tobytes() == quantize(np.asfortranarray(x), name).tobytes()


@pytest.mark.parametrize("name", BLOCK_NAMES)
def test_no_number_moves_by_more_than_a_step(name):
    x = weights((16, 512), seed=5)[1:]
    blocks = quantize(x, name)
    error = np.abs(dequantize(blocks) - x).reshape(*blocks.shape, -1)
    # a scale that is itself rounded to float16 (11 bits, less below 6e-5) adds to the half step
    steps = np.abs(blocks["scale"].astype(np.float32))[..., np.newaxis]
    assert (error <= 1.02 * steps + 2.0**-19).all()


@pytest.mark.parametrize("name", ["q4_0", "q4_0_v2", "q4_2", "q5_0", "q5_0_v1"])
def test_a_second_time_changes_nothing_where_the_largest_number_is_met_exactly(name):
    once = quantize(weights((16, 512), seed=6) + np.float32(0.001), name)
    assert quantize(dequantize(once), name).tobytes() == once.tobytes()


@pytest.mark.parametrize("name", ["q4_0_v1", "q4_1_v1", "q4_1_v2", "q8_0_v2"])
def test_a_second_time_changes_no_code_where_the_scale_keeps_24_bits(name):
    once = quantize(weights((16, 512), seed=6)[1:], name)
    twice = quantize(dequantize(once), name)
    codes = (lambda b: b["bytes"]) if name == "q8_0_v2" else codes_of
    assert np.array_equal(codes(twice), codes(once))


def test_halves_are_rounded_away_from_zero():
    x = np.zeros(32, np.float32)
    x[:8] = [127, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, 126.5]
    assert quantize(x, "q8_0_v2")["bytes"][0, :8].tolist() == [127, 1, -1, 2, 3, -3, 0, 127]


def test_just_under_a_half_goes_down_in_v1_and_up_later_where_a_half_is_added_first():
    x = np.zeros(32, np.float32)
    x[:2] = [15, np.nextafter(np.float32(0.5), np.float32(0))]  # and a half is 1.0 in float32
    assert codes_of(quantize(x, "q4_1_v1"))[0, :3].tolist() == [15, 0, 0]
    assert codes_of(quantize(x, "q4_1_v2"))[0, :3].tolist() == [15, 1, 0]


def test_zeros_have_a_positive_scale_in_march_and_a_negative_one_from_april():
    zeros = np.zeros(32, np.float32)
    assert quantize(zeros, "q4_0_v1", "#613").tobytes() == bytes(4) + b"\x88" * 16
    assert quantize(zeros, "q4_0_v1", "#729").tobytes() == b"\0\0\0\x80" + b"\x88" * 16
    assert quantize(zeros, "q4_0").tobytes() == b"\0\x80" + b"\x88" * 16
    assert quantize(zeros, "q4_0_v1").tobytes() == quantize(zeros, "q4_0_v1", "#613").tobytes()


def test_the_rules_of_april_reach_the_largest_number_and_those_of_march_leave_a_code_unused():
    x = np.zeros(32, np.float32)
    x[:3] = [-7, 3.5, 1]
    march, april = (quantize(x, "q4_0_v1", rules) for rules in ("#613", "#729"))
    assert march["scale"].tolist() == [1]
    assert codes_of(march)[0, :3].tolist() == [1, 12, 9]  # 8 - 7, 8 + 4 (3.5 away from zero), 8 + 1
    assert april["scale"].tolist() == [0.875]
    assert codes_of(april)[0, :3].tolist() == [0, 12, 9]


def test_of_two_equal_magnitudes_the_first_gives_the_sign():
    x = np.zeros(32, np.float32)
    x[5], x[9] = 4, -4
    assert quantize(x, "q4_0_v2")["scale"].tolist() == [-0.5]
    assert quantize(-x, "q4_0_v2")["scale"].tolist() == [0.5]


def test_bfloat16_rounds_to_even_and_keeps_nan_quiet():
    patterns = np.array(
        [0x3F808000, 0x3F818000, 0x3F808001, 0x7F800001, 0xFFFFFFFF, 0x7F800000, 0x7F7FFFFF],
        np.uint32,
    )
    found = quantize(patterns.view(np.float32), "bf16")["bf16"]
    # half to even down and up, above half, NaNs with the quiet bit, infinity, the largest float32
    assert found.tolist() == [0x3F80, 0x3F82, 0x3F81, 0x7FC0, 0xFFFF, 0x7F80, 0x7F80]


def test_float16_keeps_infinity_and_nan_but_refuses_to_make_them():
    kept = quantize(np.array([np.inf, -np.inf, np.nan, 65504, 65519], np.float32), "f16")
    assert np.isinf(kept).tolist() == [True, True, False, False, False]
    assert np.isnan(kept[2])
    assert kept[4] == 65504
    with pytest.raises(
        FormatError,
        match=r"layers\.3\.wq: as f16: number 70,001 is -65520, too large .*f32 or bf16",
    ):
        x = np.zeros(70_002, np.float32)
        x[70_001] = -65520
        quantize(x, "f16", where="layers.3.wq")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", BLOCK_NAMES)
def test_a_number_that_is_none_is_named_with_its_place(name, bad):
    x = np.ones((3, 40_000 // 32 * 32), np.float32)
    x[2, 77] = bad
    sentence = rf"wk: as {name}: number 80,077 is {bad:g}, expected a finite number; the weights"
    with pytest.raises(FormatError, match=sentence):
        quantize(x, name, where="wk")


def test_a_scale_that_float16_cannot_hold_is_refused_and_float32_holds_it():
    x = np.linspace(-1e6, 1e6, 64, dtype=np.float32)
    for name in ("q4_0", "q4_1", "q5_1", "q4_2", "q4_3"):
        with pytest.raises(FormatError, match=rf"as {name}: number .* too large for the float16"):
            quantize(x, name)
    for name in ("q4_0_v1", "q4_1_v2"):
        assert np.isfinite(dequantize(quantize(x, name))).all()


def test_what_cannot_be_quantized_is_said():
    x = np.zeros((2, 48), np.float32)
    with pytest.raises(RequestError, match=r"wq: cannot be written as 'iq4_xs', expected one of"):
        quantize(x, "iq4_xs", where="wq")
    with pytest.raises(RequestError, match=r"no rules '#1' for q4_0_v1, expected #613 or #729"):
        quantize(x, "q4_0_v1", "#1")
    with pytest.raises(RequestError, match=r"no rules '#613' for q4_0, expected none"):
        quantize(x, "q4_0", "#613")
    with pytest.raises(ShapeError, match=r"float32 of shape \(2, 48\), expected .* multiple of 32"):
        quantize(x, "q4_0")
    with pytest.raises(ShapeError, match=r"\(2, 48\), expected .* of 256 numbers, the block size"):
        quantize(x, "q6_k")
    with pytest.raises(ShapeError, match=r"float64 of shape \(64,\), expected float32"):
        quantize(np.zeros(64), "q8_0")


VERSIONS = [
    ("q4_0_v1", "q4_0_v2"), ("q4_1_v1", "q4_1_v2"), ("q5_0_v1", "q5_0"), ("q5_1_v1", "q5_1"),
]  # fmt: skip


@pytest.mark.parametrize(("v1", "v2"), VERSIONS)
def test_from_v1_to_v2_and_back_every_byte_returns_and_no_number_changes(v1, v2):
    size = BLOCK_TYPES[v1].dtype.itemsize
    raw = np.random.default_rng(4).integers(0, 256, (3, 7, size), np.uint8)
    blocks = raw.view(BLOCK_TYPES[v1].dtype)[..., 0]
    other = repack(blocks, v2)
    assert repack_is_exact(v1, v2)
    assert repack_is_exact(v2, v1)
    assert other.tobytes() != blocks.tobytes()
    assert repack(other, v1).tobytes() == blocks.tobytes()
    assert np.array_equal(dequantize(other), dequantize(blocks), equal_nan=True)


@pytest.mark.parametrize("name", ["q4_0", "q4_1", "q8_0"])
def test_v2_repacked_as_v3_is_what_v3_would_have_written(name):
    x = weights((5, 256))
    assert repack(quantize(x, f"{name}_v2"), name).tobytes() == quantize(x, name).tobytes()
    assert not repack_is_exact(f"{name}_v2", name)
    assert repack_is_exact(name, f"{name}_v2")
    v3 = quantize(x, name)
    assert repack(repack(v3, f"{name}_v2"), name).tobytes() == v3.tobytes()


def test_big_endian_blocks_are_repacked_as_little_endian_ones():
    blocks = quantize(weights((5, 256)), "q5_1_v1")
    big = blocks.astype(blocks.dtype.newbyteorder(">"))
    assert repack(big, "q5_1").tobytes() == repack(blocks, "q5_1").tobytes()


def test_other_types_are_not_repacked():
    assert can_repack("q4_0_v1", "q4_0")
    assert not can_repack("q4_0", "q4_1")
    assert not can_repack("f16", "f16")
    blocks = quantize(np.ones(32, np.float32), "q4_0")
    with pytest.raises(RequestError, match=r"w: q4_0 cannot be repacked as q8_0.*--allow-requant"):
        repack(blocks, "q8_0", where="w")


def test_a_scale_too_large_for_v3_is_named():
    blocks = quantize(np.full(32, -8e6, np.float32), "q4_0_v2")
    with pytest.raises(FormatError, match=r"w: a scale of 1e\+06 is too large for the float16 of"):
        repack(blocks, "q4_0", where="w")
