"""Every type that a GGUF file may be written with is read from it and kept by `convert`."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_blocks import random_blocks
from helpers.small_models import random_weights, small_config, small_vocabulary

from llama_edu.convert import convert
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.ggml.header import TYPE_IDS
from llama_edu.files.gguf.writer import FILE_TYPES, write_gguf
from llama_edu.files.layout import PlannedTensor
from llama_edu.files.mapped import MappedFile
from llama_edu.quants.blocks import BLOCK_TYPES, GGML_TYPE_IDS
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
