"""Stored types become the numbers they stand for: the slow twin and gguf-py are the judges."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from helpers.reference_blocks import block_numbers

from llama_edu.errors import FormatError, ShapeError
from llama_edu.quants.blocks import (
    BLOCK_TYPES,
    GGML_TYPE_IDS,
    block_type_of,
    dequantize,
    dequantize_into,
)

COMPUTABLE = [name for name, block in BLOCK_TYPES.items() if block.dequantize]
INTEGERS_AND_F64 = ("i8", "i16", "i32", "i64", "f64")

#: Types that the installed gguf-py cannot dequantize; only their slow twins judge them.
UNKNOWN_TO_GGUF_PY: tuple[str, ...] = ()
LISTED_ONLY = [name for name, block in BLOCK_TYPES.items() if not block.dequantize]


def random_blocks(name: str, shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    """Blocks of random bytes: the scales may be NaN, infinite, subnormal or anything else."""
    dtype = BLOCK_TYPES[name].dtype
    raw = np.random.default_rng(seed).integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    blocks = raw.view(dtype)[..., 0]
    for field in dtype.names or ():
        if dtype[field].kind == "f" and blocks.size >= 6:
            blocks[field].flat[:6] = [np.inf, -np.inf, np.nan, -0.0, 2.0**-24, -65504]
    return blocks


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    different = found.view(np.uint32) != expected.view(np.uint32)
    different &= ~(np.isnan(found) & np.isnan(expected))  # a NaN's sign and payload mean nothing
    assert not different.any(), f"{different.sum()} of {found.size}, first at {different.argmax()}"


def test_every_dtype_is_different_from_every_other_in_both_byte_orders():
    for order in "<>":
        dtypes = {block.dtype.newbyteorder(order) for block in BLOCK_TYPES.values()}
        assert len(dtypes) == len(BLOCK_TYPES)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_an_array_tells_its_type_by_its_dtype_alone(name, order):
    array = np.zeros(3, BLOCK_TYPES[name].dtype.newbyteorder(order))
    assert block_type_of(array) is BLOCK_TYPES[name]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", COMPUTABLE)
def test_numbers_are_those_of_the_slow_twin(name, order):
    blocks = random_blocks(name, (3, 5), seed=7)
    blocks = blocks.astype(blocks.dtype.newbyteorder(order))
    found = dequantize(blocks)
    raw, size = blocks.tobytes(), blocks.itemsize
    one_by_one = [
        block_numbers(name, raw[at : at + size], order) for at in range(0, len(raw), size)
    ]
    expected = np.array(one_by_one, np.float32).reshape(3, -1)
    is_number = ~np.isnan(expected)
    assert np.array_equal(np.isnan(found), ~is_number)
    assert_same_bits(found[is_number], expected[is_number])


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in COMPUTABLE
        if n in GGML_TYPE_IDS.values() and n not in (*INTEGERS_AND_F64, *UNKNOWN_TO_GGUF_PY)
    ],
)
def test_numbers_are_those_of_gguf_py_bit_for_bit(name):
    gguf = pytest.importorskip("gguf")
    blocks = random_blocks(name, (6, 50))
    plain = blocks.dtype.kind == "f"
    stored = blocks if plain else np.ascontiguousarray(blocks).view(np.uint8).reshape(6, -1)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[name.upper()])
    assert_same_bits(dequantize(blocks), expected)


def test_sizes_and_numbers_of_types_are_those_of_gguf_py():
    gguf = pytest.importorskip("gguf")
    for number in gguf.GGMLQuantizationType:
        name = GGML_TYPE_IDS[number]
        assert name == number.name.lower()
        block_size, n_bytes = gguf.GGML_QUANT_SIZES[number]
        if name == "q8_1":
            n_bytes = 36  # float16 d and s since 2023; gguf-py still has two float32
        assert (BLOCK_TYPES[name].block_size, BLOCK_TYPES[name].dtype.itemsize) == (
            block_size,
            n_bytes,
        )


def test_bits_per_weight_count_the_scales():
    assert BLOCK_TYPES["q4_0_v1"].bits_per_weight == 5
    assert BLOCK_TYPES["q4_0"].bits_per_weight == 4.5
    assert BLOCK_TYPES["q6_k"].bits_per_weight == 6.5625
    assert BLOCK_TYPES["bf16"].bits_per_weight == 16


@pytest.mark.parametrize("order", ["<", ">"])
def test_all_65536_float16_become_what_numpy_makes_of_them(order):
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]  # without infinities no slow path repairs anything
    infinities = [halves[0x7C00:0x7C01], halves[0xFC00:0xFC01]]
    for stored in (halves, finite, finite[:17], halves[-1:], *infinities):
        assert_same_bits(dequantize(stored.astype(f"{order}f2")), stored.astype(np.float32))


@pytest.mark.parametrize("order", ["<", ">"])
def test_all_65536_bfloat16_are_the_upper_halves_of_float32(order):
    upper = np.arange(65536, dtype=np.uint32)
    stored = np.zeros(65536, BLOCK_TYPES["bf16"].dtype.newbyteorder(order))
    stored["bf16"] = upper
    assert_same_bits(dequantize(stored), (upper << 16).view(np.float32))


def test_the_nibble_orders_of_v1_and_v2_differ_as_they_should():
    v1 = np.zeros(1, BLOCK_TYPES["q4_0_v1"].dtype)
    v1["scale"], v1["pairs"][0, 0] = 1, 0xF0
    assert dequantize(v1)[:3].tolist() == [-8, 7, -8]
    v2 = np.zeros(1, BLOCK_TYPES["q4_0_v2"].dtype)
    v2["scale"], v2["nibbles"][0, 0] = 1, 0xF0
    assert dequantize(v2)[[0, 1, 16]].tolist() == [-8, -8, 7]


@pytest.mark.parametrize("name", COMPUTABLE)
def test_large_and_odd_arrays_are_cut_into_chunks_without_a_seam(name):
    block_size = BLOCK_TYPES[name].block_size
    n_blocks = 70_000 // block_size  # a row alone is more than one chunk
    blocks = random_blocks(name, (2, 2, n_blocks))
    whole = dequantize(blocks)
    assert whole.shape == (2, 2, n_blocks * block_size)
    for i, j in ((0, 0), (1, 1)):
        for start in (0, n_blocks // 2, n_blocks - 3):
            part = dequantize(blocks[i, j, start : start + 3])
            expected = whole[i, j, start * block_size : (start + 3) * block_size]
            assert_same_bits(part, expected)


@pytest.mark.parametrize("name", COMPUTABLE)
def test_columns_of_a_matrix_fill_columns_of_a_buffer(name):
    block_size = BLOCK_TYPES[name].block_size
    blocks = random_blocks(name, (5, 7))
    buffer = np.full((5, 2, 7 * block_size), 3, np.float32)
    dequantize_into(blocks[:, 2:6], buffer[:, 1, block_size : 5 * block_size])
    assert_same_bits(
        buffer[:, 1, block_size : 5 * block_size],
        dequantize(blocks)[:, 2 * block_size : 6 * block_size],
    )
    assert (buffer[:, 0] == 3).all()
    assert (buffer[:, 1, :block_size] == 3).all()
    assert (buffer[:, 1, 5 * block_size :] == 3).all()


@pytest.mark.parametrize("name", COMPUTABLE)
def test_a_large_array_needs_no_large_temporary(name):
    blocks = random_blocks(name, (64, 65536 // BLOCK_TYPES[name].block_size))
    out = np.empty((64, 65536), np.float32)
    dequantize_into(blocks[:1], out[:1])
    tracemalloc.start()
    try:
        dequantize_into(blocks, out)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes <= 2 * 1024 * 1024 < out.nbytes / 7


@pytest.mark.parametrize("name", COMPUTABLE)
def test_no_blocks_are_no_numbers(name):
    assert dequantize(np.empty((3, 0), BLOCK_TYPES[name].dtype)).shape == (3, 0)
    assert dequantize(np.empty((0, 3), BLOCK_TYPES[name].dtype)).shape == (
        0,
        3 * BLOCK_TYPES[name].block_size,
    )


def test_the_result_is_a_copy_even_of_float32():
    stored = np.arange(5, dtype=np.float32)
    assert not np.shares_memory(dequantize(stored), stored)


@pytest.mark.parametrize("name", LISTED_ONLY)
def test_a_type_we_can_only_list_is_refused_by_name(name):
    with pytest.raises(FormatError, match=rf"type {name}: can be listed but not computed with; "):
        dequantize(np.zeros(2, BLOCK_TYPES[name].dtype))


def test_a_dtype_that_no_file_stores_is_named():
    with pytest.raises(FormatError, match=r"array of dtype complex64: not a stored number type"):
        dequantize(np.zeros(2, np.complex64))


@pytest.mark.parametrize(
    "buffer", [np.empty((2, 65), np.float32), np.empty((2, 96)), np.empty(192, np.float32)]
)
def test_a_buffer_that_does_not_fit_is_named(buffer):
    with pytest.raises(ShapeError, match=r"buffer for q4_0: .*, expected float32 \(2, 96\)"):
        dequantize_into(np.zeros((2, 3), BLOCK_TYPES["q4_0"].dtype), buffer)
