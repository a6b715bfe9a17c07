"""llama2.c files and its tokenizer.bin against files written by hand."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
from helpers.opened import read_llama2c
from helpers.small_models import llama2c_v0, random_weights, small_vocabulary, tokenizer_bin

from llama_edu.errors import FormatError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.mapped import MappedFile
from llama_edu.files.vocabularies.tokenizer_bin import read_tokenizer_bin
from llama_edu.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN


@pytest.mark.parametrize("tied", [False, True], ids=["own output", "tied output"])
def test_every_weight_and_size_is_found(tmp_path, config, rng, tied):
    weights = random_weights(config, rng, tied=tied)
    path = tmp_path / "model.bin"
    path.write_bytes(llama2c_v0(config, weights))
    checkpoint = read_checkpoint(path)
    assert checkpoint.format == "llama2.c v0" and checkpoint.tied_output == tied
    assert checkpoint.config == config  # norm_eps 1e-5 is what llama2.c assumes
    with MappedFile(path) as mapped:
        for name, expected in weights.items():
            np.testing.assert_array_equal(mapped.view(checkpoint.tensors[name]), expected)
    assert set(checkpoint.tensors) == set(weights)


def test_a_file_cut_at_any_byte_is_refused(tmp_path, config, weights):
    data = llama2c_v0(config, weights)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    for n_bytes in reversed([*range(200), *range(200, len(data), 997), len(data) - 1]):
        os.truncate(path, n_bytes)
        with pytest.raises(FormatError):
            read_checkpoint(path)
        with pytest.raises(FormatError):
            read_llama2c(path)


def test_missing_bytes_are_counted(tmp_path, config, weights):
    data = llama2c_v0(config, weights)
    path = tmp_path / "model.bin"
    path.write_bytes(data[:-256])
    expected = (
        rf"header implies {len(data):,} bytes, file has {len(data) - 256:,} \(256 missing\); "
        rf"download it again"
    )
    with pytest.raises(FormatError, match=expected):
        read_checkpoint(path)


@pytest.mark.parametrize("field", range(7))
@pytest.mark.parametrize("value", [0, -1, -(2**31), 2**31 - 1])
def test_hostile_sizes_are_refused(tmp_path, config, weights, field, value):
    data = bytearray(llama2c_v0(config, weights))
    struct.pack_into("<i", data, 4 * field, value)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    for reader in (read_checkpoint, read_llama2c):
        with pytest.raises(FormatError, match=r"model\.bin"):
            reader(path)


def test_a_tokenizer_bin_gives_the_vocabulary(tmp_path):
    pieces = small_vocabulary(280)
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(tokenizer_bin(pieces))
    vocabulary = read_tokenizer_bin(path, 280)
    assert vocabulary.pieces[3:] == tuple(text for text, _ in pieces[3:])
    np.testing.assert_array_equal(vocabulary.scores, [score for _, score in pieces])
    assert vocabulary.kinds[:3].tolist() == [UNKNOWN, CONTROL, CONTROL]
    assert set(vocabulary.kinds[3:259].tolist()) == {BYTE}
    assert set(vocabulary.kinds[259:].tolist()) == {NORMAL}


def test_a_tokenizer_bin_cut_at_any_byte_is_refused(tmp_path):
    data = tokenizer_bin(small_vocabulary(280))
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(data)
    for n_bytes in reversed([*range(300), *range(len(data) - 200, len(data))]):
        os.truncate(path, n_bytes)
        with pytest.raises(FormatError):
            read_tokenizer_bin(path, 280)


def test_a_tokenizer_of_another_model_is_named(tmp_path):
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(tokenizer_bin(small_vocabulary(280)))
    with pytest.raises(FormatError, match="has 280 pieces, the model has 271; this is another"):
        read_tokenizer_bin(path, 271)


@pytest.mark.parametrize("text", [b"<0xZZ>", b"<0x-1>", b"<0x 1>", b"<0x\xff\xff>", b"<0x  >"])
def test_what_only_looks_like_a_byte_piece_is_a_normal_piece(tmp_path, text):
    data = tokenizer_bin(small_vocabulary(280)).replace(b"<0x41>", text)
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(data)
    vocabulary = read_tokenizer_bin(path)
    assert vocabulary.pieces[3 + 0x41] == text and vocabulary.kinds[3 + 0x41] == NORMAL


@pytest.mark.parametrize("length", [-1, 7 + 1, 2**31 - 1])
def test_a_hostile_piece_length_is_refused(tmp_path, length):
    data = bytearray(tokenizer_bin(small_vocabulary(280)))
    struct.pack_into("<i", data, 4 + 4, length)
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=f"length of piece 0 at byte 8 is {length:,}, expected 0"):
        read_tokenizer_bin(path)
