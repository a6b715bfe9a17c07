"""Every type that a GGUF file may be written with is read from it and kept by `convert`."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_blocks import random_blocks
from helpers.small_models import old_config, random_weights, small_config, small_vocabulary

from llama_edu.convert import convert
from llama_edu.convert.planning import TYPES
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.ggml.header import TYPE_IDS
from llama_edu.files.gguf.writer import FILE_TYPES, write_gguf
from llama_edu.files.layout import PlannedTensor
from llama_edu.files.mapped import MappedFile
from llama_edu.quants.blocks import BLOCK_TYPES, GGML_TYPE_IDS
from llama_edu.quants.quantize import quantize
from llama_edu.vocabulary import NORMAL, Vocabulary

COMPUTABLE = [name for name, block in BLOCK_TYPES.items() if block.dequantize]


def test_a_type_that_can_be_computed_with_has_a_number_in_some_file():
    numbered = set(GGML_TYPE_IDS.values())
    for types in TYPE_IDS.values():
        numbered |= set(types.values())
    assert [name for name in COMPUTABLE if name not in numbered] == []


def test_a_type_of_gguf_that_can_be_computed_with_can_be_kept():
    kept = {*FILE_TYPES, "f64", "i8", "i16", "i32", "i64"}  # no file is mostly of these
    assert [n for n in COMPUTABLE if n in GGML_TYPE_IDS.values() and n not in kept] == []


def test_a_type_without_a_way_to_unpack_it_has_no_fields_either():
    """A row in BLOCK_TYPES that lacks its `unpack=` would be listed and never computed."""
    listed = [b for b in BLOCK_TYPES.values() if not b.dequantize and b.name != "i8_scaled"]
    assert [b.name for b in listed if b.dtype.names != (b.name,)] == []


@pytest.mark.parametrize("name", FILE_TYPES)
def test_a_type_is_written_read_and_kept(name, tmp_path):
    config = small_config(dim=256, hidden_dim=512, n_heads=4, n_kv_heads=2, vocab_size=271)
    shapes = {n: w.shape for n, w in random_weights(config, np.random.default_rng(3)).items()}
    pieces = small_vocabulary(271)
    vocabulary = Vocabulary(
        pieces=[piece for piece, _ in pieces],
        scores=np.array([score for _, score in pieces], np.float32),
        kinds=np.full(271, NORMAL, np.uint8),
    )
    planned = [
        PlannedTensor(n, name if len(shape) == 2 else "f32", shape) for n, shape in shapes.items()
    ]
    stored = {
        tensor.name: np.ones(tensor.shape, np.float32)
        if tensor.type == "f32"
        else random_blocks(name, *tensor.shape, seed=seed)
        for seed, tensor in enumerate(planned)
    }
    path = tmp_path / "a.gguf"
    with path.open("wb") as file:
        write_gguf(file, config, vocabulary, planned, lambda tensor: stored[tensor.name])
    convert(path, tmp_path / "b.gguf", to="gguf", type="keep")
    for written in (path, tmp_path / "b.gguf"):
        checkpoint = read_checkpoint(written)
        assert checkpoint.metadata["general.file_type"] == FILE_TYPES[name]
        with MappedFile(written) as mapped:
            for tensor in planned:
                spec = checkpoint.tensors[tensor.name]
                assert spec.type == tensor.type
                assert mapped.view(spec).tobytes() == stored[tensor.name].tobytes()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """(path, weights) of a GGUF file of float32."""
    config = old_config(dim=256, hidden_dim=768, n_heads=4, n_kv_heads=4, vocab_size=300)
    return write_f32(tmp_path_factory.mktemp("f32") / "source.gguf", config)


def write_f32(path, config):
    weights = random_weights(config, np.random.default_rng(8))
    planned = [PlannedTensor(n, "f32", array.shape) for n, array in weights.items()]
    texts, scores = zip(*small_vocabulary(config.vocab_size), strict=True)
    kinds = np.full(config.vocab_size, NORMAL, np.uint8)
    vocabulary = Vocabulary(texts, np.array(scores, np.float32), kinds)
    with path.open("wb") as file:
        write_gguf(file, config, vocabulary, planned, lambda tensor: weights[tensor.name])
    return path, weights


@pytest.mark.parametrize("name", [name for name in TYPES if name != "keep"])
def test_every_matrix_becomes_the_chosen_type_and_no_vector_does(name, source, tmp_path):
    path, weights = source
    done = convert(path, tmp_path / "out.gguf", to="gguf", type=name)
    n_vectors = sum(array.ndim == 1 for array in weights.values())
    expected = {"f32": n_vectors}
    expected[name] = expected.get(name, 0) + len(weights) - n_vectors
    assert done.types == expected
    checkpoint = read_checkpoint(tmp_path / "out.gguf")
    assert checkpoint.metadata["general.file_type"] == FILE_TYPES[name]
    with MappedFile(tmp_path / "out.gguf") as mapped:
        for tensor, spec in checkpoint.tensors.items():
            stored = quantize(weights[tensor], name if weights[tensor].ndim == 2 else "f32")
            assert mapped.view(spec).tobytes() == stored.tobytes(), tensor


@pytest.mark.parametrize("name", ["q2_k", "q3_k", "q4_k", "q5_k", "q6_k"])
def test_ggjt_v3_had_the_k_quants(name, source, tmp_path):
    path, weights = source
    convert(path, tmp_path / "out.ggjt", to="ggjt-v3", type=name)
    spec = read_checkpoint(tmp_path / "out.ggjt").tensors["layers.1.w_down"]
    with MappedFile(tmp_path / "out.ggjt") as mapped:
        stored = quantize(weights["layers.1.w_down"], name)
        assert spec.type == name and mapped.view(spec).tobytes() == stored.tobytes()


@pytest.mark.parametrize(
    ("to", "name"),
    [("ggml", "q4_k"), ("ggmf", "q2_k"), ("ggjt-v1", "q3_k"), ("ggjt-v2", "q6_k"),
     ("ggjt-v3", "tq1_0"), ("safetensors", "q5_k"), ("safetensors", "tq2_0")],
)  # fmt: skip
def test_a_format_without_the_type_refuses_it_by_name(to, name, source, tmp_path):
    with pytest.raises(FormatError, match=f"^{to} has no type {name}, expected one of f32"):
        convert(source[0], tmp_path / "out", to=to, type=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["q2_k", "q6_k", "tq1_0", "tq2_0"])
def test_rows_that_are_no_whole_blocks_refuse_with_their_length(name, tmp_path):
    config = small_config(dim=96, hidden_dim=160, n_heads=4, n_kv_heads=2, vocab_size=271)
    path, _ = write_f32(tmp_path / "source.gguf", config)
    sentence = (
        f"token_embedding: rows of 96 numbers cannot become {name}, whose blocks have 256; "
        "choose f16 or f32"
    )
    with pytest.raises(FormatError, match=sentence):
        convert(path, tmp_path / "out.gguf", to="gguf", type=name)
    assert not (tmp_path / "out.gguf").exists()


@pytest.mark.parametrize(
    ("type", "embedding"), [("q8_0", "q6_k"), ("keep", "q4_0"), ("f32", "keep")]
)
def test_the_embedding_may_have_a_type_of_its_own(type, embedding, source, tmp_path):
    path, _ = source
    convert(path, tmp_path / "m.gguf", to="gguf", type=type, embedding_type=embedding)
    before = read_checkpoint(path).tensors
    after = read_checkpoint(tmp_path / "m.gguf").tensors
    alone = type if embedding == "keep" else embedding
    others = before["output"].type if type == "keep" else type
    assert after["token_embedding"].type == alone
    assert {t.type for n, t in after.items() if len(t.shape) == 2 and n != "token_embedding"} == {
        others
    }


def test_an_unknown_type_for_the_embedding_is_named(source, tmp_path):
    with pytest.raises(RequestError, match="cannot write type 'q9'"):
        convert(source[0], tmp_path / "m.gguf", to="gguf", embedding_type="q9")
