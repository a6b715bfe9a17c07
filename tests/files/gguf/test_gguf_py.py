"""What gguf-py writes we read, what we write gguf-py reads, and published files are read alike."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from helpers.gguf_by_hand import KINDS, SCORES
from helpers.opened import read_gguf
from helpers.small_models import random_weights, small_config

from llama_edu.config import ModelConfig, RopeScaling
from llama_edu.errors import FormatError, RequestError, ShapeError
from llama_edu.files.gguf.writer import write_gguf
from llama_edu.files.layout import PlannedTensor
from llama_edu.files.mapped import MappedFile
from llama_edu.files.names import from_ours, to_ours
from llama_edu.quants.blocks import BLOCK_TYPES, dequantize
from llama_edu.rope import llama3_divisors, llama3_scaling
from llama_edu.vocabulary import Vocabulary


def all_numbers(checkpoint) -> dict[str, np.ndarray]:
    files = [MappedFile(path) for path in checkpoint.paths]
    return {t.name: dequantize(files[t.file].view(t)) for t in checkpoint.tensors.values()}


def quantizable_config() -> ModelConfig:
    return small_config(
        dim=64, hidden_dim=96, n_layers=2, n_heads=4, vocab_size=7, rope_theta=5e5, norm_eps=1e-6
    )


def write_with_gguf_py(path: Path, config, weights, qtype="F32", **options) -> dict:
    """The independent writer. Returns GGUF name -> numbers after storing."""
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter(path, "llama", **options)
    writer.add_context_length(config.max_seq_len)
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.hidden_dim)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([b"<unk>", b"<s>", b"</s>", b"<0xE2>", "\u2581a".encode(), b"b", b"c"])
    writer.add_token_scores(SCORES)
    writer.add_token_types(KINDS)
    writer.add_add_space_prefix(False)
    stored = {}
    for name, weight in weights.items():
        kind = gguf.GGMLQuantizationType[qtype if weight.ndim == 2 else "F32"]
        blocks = gguf.quantize(weight, kind)
        foreign = from_ours(name, "gguf")
        writer.add_tensor(foreign, blocks, raw_dtype=kind)
        stored[foreign] = gguf.dequantize(blocks, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


@pytest.mark.parametrize("qtype", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_what_gguf_py_writes_we_read(tmp_path, rng, qtype):
    config = quantizable_config()
    path = tmp_path / "model.gguf"
    stored = write_with_gguf_py(path, config, random_weights(config, rng), qtype)
    checkpoint = read_gguf(path)
    assert checkpoint.config == config
    assert checkpoint.vocabulary.pieces[3] == b"\xe2"
    assert checkpoint.vocabulary.add_space_prefix is False
    numbers = all_numbers(checkpoint)
    assert len(numbers) == len(stored) == 21
    for name, array in numbers.items():
        np.testing.assert_array_equal(array, stored[checkpoint.tensors[name].stored_name])


def test_a_split_model_opens_from_any_of_its_files(tmp_path, rng):
    config = quantizable_config()
    weights = random_weights(config, rng)
    stored = write_with_gguf_py(tmp_path / "m.gguf", config, weights, split_max_tensors=9)
    parts = sorted(tmp_path.glob("m-*.gguf"))
    assert [p.name for p in parts] == [f"m-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    for part in parts:
        checkpoint = read_gguf(part)
        assert checkpoint.paths == tuple(parts)
        assert {t.file for t in checkpoint.tensors.values()} == {0, 1, 2}
        for name, array in all_numbers(checkpoint).items():
            np.testing.assert_array_equal(array, stored[checkpoint.tensors[name].stored_name])
    assert "3 files" in checkpoint.format
    third = parts[2].read_bytes()
    parts[2].write_bytes(parts[1].read_bytes())
    with pytest.raises(FormatError, match=r"has split.no 1 of split.count 3, expected 2 of 3"):
        read_gguf(parts[0])
    parts[2].unlink()
    with pytest.raises(FormatError, match=r"m-00003-of-00003.gguf: is missing, one of 3 files"):
        read_gguf(parts[0])
    parts[2].write_bytes(third)
    lonely = parts[1].rename(tmp_path / "lonely.gguf")
    with pytest.raises(FormatError, match=r"expected a name that ends in -00001-of-00003.gguf"):
        read_gguf(lonely)


def vocabulary_of_seven() -> Vocabulary:
    pieces = [" \u2047 ".encode(), b"", b"", b"\xe2", b" a", b"b", b"  c"]
    return Vocabulary(pieces, np.array(SCORES, np.float32), np.array(KINDS, np.uint8))


def planned_as(weights, type_name: str = "f32") -> list[PlannedTensor]:
    return [
        PlannedTensor(name, "f32" if w.ndim == 1 else type_name, w.shape)
        for name, w in weights.items()
    ]


def test_what_we_write_gguf_py_reads(tmp_path, rng):
    gguf = pytest.importorskip("gguf")
    config = quantizable_config()
    weights = random_weights(config, rng)
    path = tmp_path / "model.gguf"
    q8 = gguf.GGMLQuantizationType.Q8_0

    def load(tensor):
        if len(tensor.shape) == 1:
            return weights[tensor.name]
        blocks = gguf.quantize(weights[tensor.name], q8)
        return blocks.view(BLOCK_TYPES["q8_0"].dtype)

    with path.open("wb") as file:
        write_gguf(
            file, config, vocabulary_of_seven(), planned_as(weights, "q8_0"), load,
            {"general.name": "a name", "llama.block_count": 99},
        )  # fmt: skip
    reader = gguf.GGUFReader(path)
    field = {name: f.contents() for name, f in reader.fields.items()}
    assert field["general.architecture"] == "llama" and field["general.name"] == "a name"
    assert field["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q8_0
    assert field["general.quantization_version"] == gguf.GGML_QUANT_VERSION
    assert field["llama.block_count"] == 2
    assert field["tokenizer.ggml.tokens"] == [
        "<unk>", "<s>", "</s>", "<0xE2>", "\u2581a", "b", "\u2581\u2581c"
    ]  # fmt: skip
    assert field["tokenizer.ggml.scores"] == SCORES
    assert field["tokenizer.ggml.token_type"] == KINDS
    assert field["tokenizer.ggml.bos_token_id"] == 1
    assert [t.name for t in reader.tensors] == [from_ours(name, "gguf") for name in weights]
    end = reader.data_offset
    for tensor, (name, weight) in zip(reader.tensors, weights.items(), strict=True):
        assert tensor.data_offset == end  # in order, without gaps
        end += -(-tensor.n_bytes // 32) * 32
        kind = q8 if weight.ndim == 2 else gguf.GGMLQuantizationType.F32
        expected = gguf.dequantize(gguf.quantize(weight, kind), kind)
        found = gguf.dequantize(tensor.data, tensor.tensor_type).reshape(weight.shape)
        np.testing.assert_array_equal(found, expected, err_msg=name)
    assert end == path.stat().st_size


@pytest.mark.parametrize("tied", [False, True])
def test_what_we_write_we_read(tmp_path, rng, tied):
    config = small_config(vocab_size=7, head_dim=6, rope_scaling=RopeScaling("linear", 4.0))
    weights = random_weights(config, rng, tied=tied)
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        write_gguf(
            file, config, vocabulary_of_seven(), planned_as(weights), lambda t: weights[t.name]
        )
    checkpoint = read_gguf(path)
    assert checkpoint.config == config
    assert checkpoint.tied_output == tied
    assert list(checkpoint.vocabulary.pieces) == vocabulary_of_seven().pieces
    for name, array in all_numbers(checkpoint).items():
        np.testing.assert_array_equal(array, weights[name])
    again = io.BytesIO()
    write_gguf(
        again, checkpoint.config, checkpoint.vocabulary, planned_as(weights),
        lambda t: weights[t.name],
    )  # fmt: skip
    assert again.getvalue() == path.read_bytes()


def test_a_file_without_a_vocabulary_says_so(tmp_path, rng):
    config = small_config()
    weights = random_weights(config, rng)
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        write_gguf(file, config, None, planned_as(weights), lambda t: weights[t.name])
    checkpoint = read_gguf(path)
    assert checkpoint.vocabulary is None and checkpoint.config.vocab_size == config.vocab_size


def test_llama3_scaling_becomes_divisors_and_back(tmp_path, rng):
    scaling = RopeScaling("llama3", 8.0)
    config = small_config(n_heads=2, n_kv_heads=1, dim=256, rope_theta=5e5, rope_scaling=scaling)
    weights = random_weights(config, rng)
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        write_gguf(file, config, None, planned_as(weights), lambda t: weights[t.name])
    checkpoint = read_gguf(path)
    assert checkpoint.config.rope_scaling is None  # GGUF has no name for it
    with MappedFile(path) as mapped:
        divisors = mapped.view(checkpoint.metadata["rope_freqs"]).copy()
    for i, divisor in enumerate(divisors):  # the rule of Llama 3.1 in plain Python
        wavelength = 2 * math.pi * 5e5 ** (2 * i / 128)
        smooth = (8192 / wavelength - 1) / (4 - 1)
        if wavelength < 8192 / 4:
            expected = 1.0
        elif wavelength > 8192 / 1:
            expected = 8.0
        else:
            expected = 1 / ((1 - smooth) / 8 + smooth)
        assert divisor == pytest.approx(expected, rel=1e-6)
    assert 1 < divisors[30:].min() < divisors.max() == 8 and divisors[0] == 1
    assert llama3_scaling(divisors, checkpoint.config) == scaling
    assert llama3_scaling(divisors * 1.01, checkpoint.config) is None
    with pytest.raises(RequestError, match="is not llama3"):
        llama3_divisors(checkpoint.config)


def test_the_writer_refuses_what_gguf_cannot_hold(rng):
    config = small_config(vocab_size=7)
    weights = random_weights(config, rng)
    planned, out = planned_as(weights), io.BytesIO()

    def attempt(tensors=planned, load=lambda t: weights[t.name], vocabulary=None, **metadata):
        write_gguf(out, config, vocabulary, tensors, load, metadata)

    with pytest.raises(RequestError, match="type q4_2 does not exist in GGUF"):
        attempt([PlannedTensor("output", "q4_2", (7, 32))])
    with pytest.raises(RequestError, match="final_norm: type f16, expected f32"):
        attempt([PlannedTensor("final_norm", "f16", (24,))])
    with pytest.raises(RequestError, match="metadata x: is list"):
        attempt(x=[1])
    with pytest.raises(RequestError, match="metadata x: -1 does not fit u32"):
        attempt(x=-1)
    with pytest.raises(RequestError, match="has 7 pieces, the model 271"):
        write_gguf(out, small_config(), vocabulary_of_seven(), planned, lambda t: weights[t.name])
    with pytest.raises(ShapeError, match=r"loaded float64 \(7, 24\), expected float32"):
        attempt(load=lambda t: weights[t.name].astype(np.float64))


# --- published files --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stories260K.gguf", "tiny-random-llama.gguf"])
def test_published_files_read_as_gguf_py_reads_them(real, name):
    gguf = pytest.importorskip("gguf")
    path = real / "models" / name
    checkpoint, reader = read_gguf(path), gguf.GGUFReader(path)
    numbers = all_numbers(checkpoint)
    assert len(reader.tensors) == len(numbers)
    for tensor in reader.tensors:
        mine = checkpoint.tensors[to_ours(tensor.name, "gguf")]
        assert (mine.offset, mine.n_bytes) == (tensor.data_offset, tensor.n_bytes)
        np.testing.assert_array_equal(
            numbers[mine.name].reshape(-1), tensor.data.reshape(-1).astype(np.float32)
        )
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    scores = reader.fields["tokenizer.ggml.scores"].contents()
    assert list(checkpoint.metadata["tokenizer.ggml.tokens"]) == tokens
    np.testing.assert_array_equal(checkpoint.vocabulary.scores, np.array(scores, np.float32))
    n = 1000
    ids = np.random.default_rng(1).integers(3, len(tokens), n)
    for token in ids.tolist():
        text = tokens[token].replace("\u2581", " ").encode()
        if checkpoint.vocabulary.kinds[token] == 6:
            text = bytes.fromhex(tokens[token][3:5])
        assert checkpoint.vocabulary.pieces[token] == text


def test_our_copy_of_a_published_file_has_its_pieces_and_weights(real, tmp_path):
    source = read_gguf(real / "models" / "stories260K.gguf")
    path = tmp_path / "copy.gguf"
    with MappedFile(source.paths[0]) as mapped, path.open("wb") as file:
        write_gguf(
            file, source.config, source.vocabulary,
            [PlannedTensor(t.name, t.type, t.shape) for t in source.tensors.values()],
            lambda planned: mapped.view(source.tensors[planned.name]),
        )  # fmt: skip
    copy = read_gguf(path)
    assert copy.config == source.config
    key = "tokenizer.ggml.tokens"
    assert list(copy.metadata[key]) == list(source.metadata[key])
    for name, array in all_numbers(copy).items():
        np.testing.assert_array_equal(array, all_numbers(source)[name])
