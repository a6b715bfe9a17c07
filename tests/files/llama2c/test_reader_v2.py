"""llama2.c version 2, int8 numbers and scales in separate runs, against files written by hand."""

from __future__ import annotations

import os
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from helpers.llama2c_v2_by_hand import llama2c_v2
from helpers.small_models import llama2c_v0, random_weights, small_config

from llama_edu.compare import compare
from llama_edu.convert import convert
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.anatomy import fields_of
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.mapped import MappedFile
from llama_edu.loading import load
from llama_edu.matmul.product import matmul
from llama_edu.pages.ledger import Ledger
from llama_edu.quants.blocks import dequantize
from llama_edu.quants.scaled import ScaledArray


def write(path: Path, config, weights, group_size: int) -> dict[str, np.ndarray]:
    data, meaning = llama2c_v2(config, weights, group_size)
    path.write_bytes(data)
    return meaning


#: 8 divides every row; with 12 a group begins in one row of w_down (40 numbers) and ends in the
#: next, as happens to stories260K; 3 makes scales lie at odd addresses.
GROUPS = (8, 12, 3)


@pytest.mark.parametrize("tied", [False, True], ids=["own output", "tied output"])
@pytest.mark.parametrize("group_size", GROUPS)
def test_every_weight_is_found_in_place(tmp_path, config, rng, group_size, tied):
    weights = random_weights(config, rng, tied=tied)
    path = tmp_path / "model.bin"
    meaning = write(path, config, weights, group_size)
    checkpoint = read_checkpoint(path)
    assert checkpoint.format == "llama2.c v2" and checkpoint.config == config
    assert set(checkpoint.tensors) == set(weights) and checkpoint.tied_output == tied
    assert checkpoint.n_bytes == path.stat().st_size - 256
    with MappedFile(path) as file:
        for name, expected in meaning.items():
            view, private = file.view(checkpoint.tensors[name]), file.read(checkpoint.tensors[name])
            np.testing.assert_array_equal(dequantize(view), expected)
            np.testing.assert_array_equal(dequantize(private), expected)
            if isinstance(view, ScaledArray):
                for array in (view.numbers, view.scales):
                    assert not array.flags.owndata and not array.flags.writeable
                assert view.nbytes == checkpoint.tensors[name].n_bytes
        del view, private, array


@pytest.mark.parametrize("group_size", GROUPS)
@pytest.mark.parametrize("mmap", [True, False])
def test_a_model_computes_what_its_rounded_weights_say(tmp_path, config, weights, group_size, mmap):
    path, plain = tmp_path / "model.bin", tmp_path / "plain.bin"
    meaning = write(path, config, weights, group_size)
    tokens = [1, 5, 3, 200, 31]
    with load(path, mmap=mmap) as llama:
        logits = llama.logits(tokens)
        assert (llama.loading.copied_bytes == 0) == mmap
    # the same numbers as float32, in a version 0 file
    plain.write_bytes(llama2c_v0(config, meaning))
    with load(plain) as llama:
        np.testing.assert_allclose(logits, llama.logits(tokens), atol=1e-5)
    assert compare(path, plain, 1e-5).same


def test_rows_and_long_rows_are_unpacked_alone(rng):
    numbers = rng.integers(-127, 128, (7, 40)).astype(np.int8)
    scales = rng.random(35, np.float32)
    flat = numbers.reshape(-1) * np.repeat(scales, 8)
    array = ScaledArray(numbers, scales, 8)
    np.testing.assert_array_equal(dequantize(array), flat.reshape(7, 40))
    np.testing.assert_array_equal(dequantize(array[2:5][1:]), flat.reshape(7, 40)[3:5])
    np.testing.assert_array_equal(
        dequantize(array[np.array([6, 0, 6])]), flat.reshape(7, 40)[[6, 0, 6]]
    )
    assert array[2:5].numbers.base is not None and dequantize(array[3:3]).shape == (0, 40)
    x = rng.standard_normal((3, 40), np.float32)
    np.testing.assert_allclose(matmul(x, array), x @ flat.reshape(7, 40).T, rtol=1e-5)
    long = ScaledArray(np.ones((2, 70_000), np.int8), np.arange(2, dtype=np.float32), 70_000)
    np.testing.assert_array_equal(dequantize(long)[:, ::10_000], [[0.0] * 7, [1.0] * 7])


@pytest.mark.parametrize("group_size", GROUPS)
def test_the_prediction_holds_the_bytes_of_a_row_and_of_its_scales(
    tmp_path, config, weights, group_size
):
    path = tmp_path / "model.bin"
    data, meaning = llama2c_v2(config, weights, group_size)
    path.write_bytes(data)
    tensors = read_checkpoint(path).tensors
    spec = tensors["token_embedding"]
    ledger = Ledger(tensors, page_size=16, n_pages=-(-len(data) // 16))
    ledger.rows("token_embedding", [4])
    assert ledger.n_bytes == config.dim + 4 * config.dim // group_size
    # nothing else is needed: with every other byte of the file spoiled the row reads the same
    kept = bytearray(b"\xff" * len(data))
    for start, n_bytes in ledger.ranges:
        kept[start : start + n_bytes] = data[start : start + n_bytes]
    path.write_bytes(kept)
    with MappedFile(path) as file:
        row = dequantize(file.view(spec)[np.array([4])])
    np.testing.assert_array_equal(row[0], meaning["token_embedding"][4])
    ledger.clear()
    ledger.whole("layers.1.w_down")
    down = tensors["layers.1.w_down"]
    assert ledger.ranges == ((down.offset, down.n_bytes),)
    if config.hidden_dim % group_size:  # a row's scales reach into its neighbors' groups
        ledger.clear()
        ledger.rows("layers.1.w_down", [1])
        groups = {i // group_size for i in range(config.hidden_dim, 2 * config.hidden_dim)}
        assert ledger.n_bytes == config.hidden_dim + 4 * len(groups)


def test_it_converts_to_floats_and_is_not_rounded_twice_unasked(tmp_path, sentencepiece_model):
    config = small_config(dim=36, vocab_size=300)
    weights = random_weights(config, np.random.default_rng(3))
    source, target = tmp_path / "model.bin", tmp_path / "model.gguf"
    write(source, config, weights, 12)
    convert(source, target, to="gguf", type="f32", tokenizer=sentencepiece_model)
    assert compare(source, target, 1e-4).same
    with pytest.raises(FormatError, match=r"gguf has no type i8_scaled, expected one of f32"):
        convert(source, target, to="gguf", tokenizer=sentencepiece_model)
    wide = small_config(dim=96, hidden_dim=160, vocab_size=300)
    write(source, wide, random_weights(wide, np.random.default_rng(3)), 32)
    with pytest.raises(RequestError, match=r"i8_scaled to q8_0: the numbers are rounded a second"):
        convert(source, target, to="gguf", type="q8_0", tokenizer=sentencepiece_model)
    done = convert(
        source, target, to="gguf", type="q8_0", tokenizer=sentencepiece_model,
        allow_requantize=True,
    )  # fmt: skip
    assert "rounded a second time" in str(done)
    assert compare(source, target, 0.05).same


def test_the_hex_view_names_every_byte(tmp_path, config, weights):
    path = tmp_path / "model.bin"
    write(path, config, weights, 8)
    fields = list(fields_of(path))
    assert [f.name for f in fields[9:13]] == [
        "shared classifier", "group size", "not used", "data of layers.0.attention_norm"
    ]  # fmt: skip
    assert (fields[10].offset, fields[10].value) == (37, "8")
    for before, after in pairwise(fields):
        assert before.end == after.offset
    assert fields[-1].name == "scales of output" and fields[-1].end == path.stat().st_size


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (4, 3, "llama2.c version 3, expected 0, 1 or 2"),
        (37, 0, "group size at byte 37 is 0, expected 1 to 24"),
        (37, -8, "group size at byte 37 is -8, expected 1 to 24"),
        (37, 48, "group size at byte 37 is 48, expected 1 to 24"),
        (37, 7, "group size 7 does not divide dim 24"),
        (37, 6, r"header implies [\d,]+ bytes, file has [\d,]+ \([\d,]+ missing\)"),
        (8, 2**31 - 1, r"does not divide dim 2147483647|not a multiple of n_heads"),
        (16, 2**31 - 1, r"header implies [\d,]+ bytes"),
    ],
)
def test_a_damaged_header_is_named(tmp_path, config, weights, at, value, says):
    data = bytearray(llama2c_v2(config, weights, 8)[0])
    struct.pack_into("<i", data, at, value)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=says):
        read_checkpoint(path)


def test_a_file_cut_at_any_byte_is_refused(tmp_path, config, weights):
    data = llama2c_v2(config, weights, 8)[0]
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    for n_bytes in reversed([*range(4, 260), *range(260, len(data), 997), len(data) - 1]):
        os.truncate(path, n_bytes)
        with pytest.raises(FormatError):
            read_checkpoint(path)


def test_a_published_model_rounded_to_int8_computes_nearly_the_same(tmp_path, real):
    """stories260K has rows of 172 numbers: groups of 64 begin in one row and end in the next."""
    source = real / "models" / "stories260K.bin"
    path = tmp_path / "model.bin"
    tokens = [1, 403, 407, 261, 378]
    with load(source) as llama:
        expected = llama.logits(tokens)
        config = llama.config
        weights = {name: np.array(view) for name, view in llama.weights.items()}
    write(path, config, weights, 64)
    assert config.hidden_dim % 64 and path.stat().st_size < source.stat().st_size / 3
    with load(path) as llama:
        logits = llama.logits(tokens)
        assert llama.loading.copied_bytes == 0
    difference = np.abs(logits - expected).max()
    assert 0 < difference < 0.05 * np.abs(expected).max()
