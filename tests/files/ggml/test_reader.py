"""ggml, ggmf and ggjt: read from files written by hand, byte for byte the same when we write."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
from helpers.opened import read_ggml
from helpers.small_models import (
    ggml_file,
    old_config,
    random_weights,
    sentencepiece_vocabulary,
    small_vocabulary,
    write_ggml_shards,
    write_meta_folder,
)
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.convert import convert
from llama_edu.errors import FormatError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.layout import ShardedTensor
from llama_edu.files.mapped import MappedFile
from llama_edu.files.parts.shards import join
from llama_edu.loading import load
from llama_edu.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN

FORMATS = {
    "ggml": (b"lmgg", 0), "ggmf": (b"fmgg", 1), "ggjt-v1": (b"tjgg", 1), "ggjt-v2": (b"tjgg", 2),
    "ggjt-v3": (b"tjgg", 3),
}  # fmt: skip


@pytest.fixture
def config():
    return old_config()


@pytest.fixture(scope="module")
def tiny():
    """The smallest file with every kind of record: one layer, four numbers wide."""
    config = old_config(
        dim=4, hidden_dim=12, n_layers=1, n_heads=2, n_kv_heads=2, vocab_size=5, max_seq_len=2048
    )
    weights = random_weights(config, np.random.default_rng(1))
    pieces = [(b"ab", 0.0), (b"", 0.0), (b"", 0.0), (b"\0", 0.0), (b"xyz", -1.5)]
    return config, weights, pieces


def tiny_file(tiny, fmt, dtype="f16"):
    magic, version = FORMATS[fmt]
    config, weights, pieces = tiny
    return ggml_file(
        config, weights, pieces, magic=magic, version=version, dtype=dtype, multiple_of=12
    )


def values_in(path):
    """Every weight of a checkpoint as a float32 copy."""
    checkpoint = read_checkpoint(path)
    files = [MappedFile(p) for p in checkpoint.paths]
    out = {}
    for name, tensor in checkpoint.tensors.items():
        if isinstance(tensor, ShardedTensor):
            out[name] = join(tensor, lambda s: files[s.file].view(s)).astype(np.float32)
        else:
            out[name] = files[0].view(tensor).astype(np.float32)
    for file in files:
        file.close()
    return checkpoint, out


@pytest.mark.parametrize("n_shards", [1, 2, 4])
@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("fmt", FORMATS)
def test_a_file_written_by_hand_is_read_whole(tmp_path, config, weights, fmt, dtype, n_shards):
    magic, version = FORMATS[fmt]
    path = write_ggml_shards(
        tmp_path / "model.bin", n_shards, config, weights, small_vocabulary(300), magic=magic,
        version=version, dtype=dtype,
    )  # fmt: skip
    checkpoint, values = values_in(path)
    assert set(values) == set(weights)
    for name, expected in weights.items():
        np.testing.assert_array_equal(values[name], expected)
    assert checkpoint.config == old_config(max_seq_len=2048)  # the file has no word for it
    assert len(checkpoint.paths) == n_shards
    vocabulary = checkpoint.vocabulary
    assert vocabulary.pieces == tuple(text for text, _ in small_vocabulary(300))
    scores = [0.0 if fmt == "ggml" else score for _, score in small_vocabulary(300)]
    np.testing.assert_array_equal(vocabulary.scores, scores)
    assert vocabulary.kinds[:3].tolist() == [UNKNOWN, CONTROL, CONTROL]
    assert (vocabulary.kinds[3:259] == BYTE).all() and (vocabulary.kinds[259:] == NORMAL).all()


@pytest.mark.parametrize("n_shards", [1, 2])
@pytest.mark.parametrize("dtype", ["f32", "f16"])
@pytest.mark.parametrize("fmt", FORMATS)
def test_our_writer_equals_the_one_by_hand_byte_for_byte(
    tmp_path, config, weights, sentencepiece_model, fmt, dtype, n_shards
):
    folder = write_meta_folder(
        tmp_path / "meta", config, weights, n_shards=n_shards, tokenizer=sentencepiece_model
    )
    done = convert(folder, tmp_path / "ours.bin", to=fmt, type=dtype)
    magic, version = FORMATS[fmt]
    expected = ggml_file(
        config, weights, sentencepiece_vocabulary(sentencepiece_model), magic=magic,
        version=version, dtype=dtype,
    )  # fmt: skip
    assert (tmp_path / "ours.bin").read_bytes() == expected
    assert done.n_tensors == len(weights)


def test_only_ggjt_is_aligned(tmp_path, tiny):
    for fmt in FORMATS:
        path = tmp_path / fmt
        path.write_bytes(tiny_file(tiny, fmt))
        offsets = [spec.offset % 32 for spec in read_ggml(path).tensors.values()]
        assert (set(offsets) == {0}) == fmt.startswith("ggjt")


def test_every_byte_of_the_file_has_its_place(tmp_path, tiny):
    path = tmp_path / "model.bin"
    path.write_bytes(tiny_file(tiny, "ggjt-v1"))
    checkpoint = read_ggml(path)
    end = checkpoint.sections[0].n_bytes + checkpoint.sections[1].n_bytes
    for spec in checkpoint.tensors.values():
        head = 12 + 4 * len(spec.shape) + len(spec.stored_name)
        assert 0 <= spec.offset - end - head < 32
        end = spec.end
    assert end == path.stat().st_size


def test_without_scores_a_tokenizer_model_beside_the_file_is_used(
    tmp_path, config, weights, sentencepiece_model
):
    pieces = sentencepiece_vocabulary(sentencepiece_model)
    text = "the fox and the owl"
    for fmt in ("ggml", "ggmf"):
        magic, version = FORMATS[fmt]
        path = tmp_path / f"{fmt}.bin"
        path.write_bytes(ggml_file(config, weights, pieces, magic=magic, version=version))
    with load(tmp_path / "ggmf.bin") as llama:
        expected = llama.tokenizer.encode(text)
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_model.read_bytes())
    with load(tmp_path / "ggml.bin") as llama:
        assert llama.tokenizer.encode(text) == expected
    convert(tmp_path / "ggml.bin", tmp_path / "now.bin", to="ggmf")
    assert (tmp_path / "now.bin").read_bytes() == (tmp_path / "ggmf.bin").read_bytes()


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fmt", "step"), [("ggml", 7), ("ggmf", 7), ("ggjt-v1", 1)])
def test_a_file_cut_at_any_byte_is_refused(tmp_path, tiny, fmt, step):
    data = tiny_file(tiny, fmt)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    read_checkpoint(path)
    for n_bytes in reversed(range(0, len(data), step)):
        os.truncate(path, n_bytes)
        with pytest.raises(FormatError, match=r"model\.bin"):
            read_checkpoint(path)


@given(st.data())
def test_a_flipped_byte_never_ends_in_another_error(tmp_path, tiny, data):
    file = bytearray(tiny_file(tiny, data.draw(st.sampled_from(list(FORMATS)))))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(4, len(file) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "model.bin"
    path.write_bytes(file)
    try:
        read_checkpoint(path)
    except FormatError as error:
        assert str(error).startswith(str(path))


@pytest.mark.parametrize("value", [0, -1, -(2**31), 2**31 - 1])
@pytest.mark.parametrize(
    ("offset", "name"),
    [(8, "vocab_size"), (12, "dim"), (16, "multiple_of"), (20, "n_heads"), (24, "n_layers")],
)
def test_hostile_sizes_are_refused_by_name(tmp_path, tiny, offset, name, value):
    data = bytearray(tiny_file(tiny, "ggjt-v1"))
    struct.pack_into("<i", data, offset, value)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=f"{name} at byte {offset} is {value:,}, expected 1 to"):
        read_ggml(path)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (0, 3, "number of dimensions .* is 3, expected 1 to 2"),
        (0, -1, "number of dimensions .* is -1"),
        (4, 10**9, "length of a tensor name .* is 1,000,000,000, expected 1 to 256"),
        (4, -4, "length of a tensor name .* is -4"),
        (8, 99, "tok_embeddings.weight has type 99, expected one of 0, 1, 2"),
        (8, 2, "tok_embeddings.weight: rows of 4 numbers, expected a multiple of 32"),
        (12, 0, "tensor size at byte .* is 0"),
        (12, 2**31 - 1, "data of tok_embeddings.weight at byte .* needs"),
        (16, 6, r"weight has shape|needs|expected"),
    ],
)
def test_hostile_records_are_refused(tmp_path, tiny, place, value, sentence):
    data = bytearray(tiny_file(tiny, "ggjt-v1"))
    record = data.index(b"tok_embeddings") - 20
    struct.pack_into("<i", data, record + place, value)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=sentence):
        read_ggml(path)


def test_an_unknown_version_is_named(tmp_path, tiny):
    for fmt, sentence in (
        ("ggjt-v1", "ggjt version 7, expected 1 or 2 or 3"), ("ggmf", "ggmf version 7, expected 1")
    ):  # fmt: skip
        data = bytearray(tiny_file(tiny, fmt))
        data[4] = 7
        path = tmp_path / "model.bin"
        path.write_bytes(data)
        with pytest.raises(FormatError, match=sentence):
            read_ggml(path)


def test_a_long_piece_is_refused(tmp_path, tiny):
    data = bytearray(tiny_file(tiny, "ggjt-v1"))
    struct.pack_into("<I", data, 36, 70_000)
    path = tmp_path / "model.bin"
    path.write_bytes(data + bytes(100_000))
    with pytest.raises(FormatError, match="vocabulary piece 0 has 70,000 bytes, expected at most"):
        read_ggml(path)


def test_two_tensors_of_one_name_are_refused(tmp_path, tiny):
    data = tiny_file(tiny, "ggml")
    record = data.index(b"norm.weight", data.index(b"tok_embeddings")) - 16
    path = tmp_path / "model.bin"
    path.write_bytes(data + data[record : record + 16 + 11 + 16])
    with pytest.raises(FormatError, match=r"has two tensors norm\.weight; the file is damaged"):
        read_ggml(path)


def test_a_tensor_of_another_model_is_shown_with_its_escapes(tmp_path, tiny):
    data = tiny_file(tiny, "ggml").replace(b"norm.weight", b"nor\x1b.weight", 1)
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"has a tensor nor\\x1b\.weight, which no LLaMA has"):
        read_ggml(path)


def test_a_missing_shard_is_named(tmp_path, config, weights):
    path = write_ggml_shards(
        tmp_path / "model.bin", 4, config, weights, small_vocabulary(300), magic=b"fmgg"
    )
    (tmp_path / "model.bin.2").unlink()
    with pytest.raises(FormatError, match=r"model.bin.2: is missing: model.bin is the first of 4"):
        read_ggml(path)


def test_shards_of_two_models_are_refused(tmp_path, config, weights):
    arguments = {"magic": b"fmgg", "shard": 1, "n_shards": 2}
    path = write_ggml_shards(
        tmp_path / "model.bin", 2, config, weights, small_vocabulary(300), magic=b"fmgg"
    )
    second = tmp_path / "model.bin.1"
    other = small_vocabulary(300)
    other[280] = (b"other", -3.0)
    second.write_bytes(ggml_file(config, weights, other, **arguments))
    with pytest.raises(FormatError, match=r"bin.1: its header or vocabulary differs from model"):
        read_ggml(path)
    fewer = {name: array for name, array in weights.items() if name != "layers.1.wv"}
    second.write_bytes(ggml_file(config, fewer, small_vocabulary(300), **arguments))
    with pytest.raises(FormatError, match=r"bin.1: has no layers.1.wv, which model.bin has"):
        read_ggml(path)
