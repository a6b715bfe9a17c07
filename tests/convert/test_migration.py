"""The migration of March 2023 replayed: files in shards become one file, and no byte is lost.

Each claim is made twice: with shards that our own writer made, and with shards written by hand.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.opened import read_gguf
from helpers.reference_blocks import quantized_block
from helpers.small_models import (
    meta_name,
    old_config,
    random_weights,
    sentencepiece_vocabulary,
    shard_of,
    write_ggml_shards,
    write_meta_folder,
)

from llama_edu.compare import compare
from llama_edu.convert import convert
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.mapped import MappedFile
from llama_edu.files.vocabularies.detect import read_vocabulary
from llama_edu.loading import load
from llama_edu.quants.blocks import dequantize
from llama_edu.tokenizer.choice import tokenizer_of
from llama_edu.tokenizer.sentencepiece import SentencePieceTokenizer

MULTIPLE_OF = 64

#: Type -> (number in a tensor record, the header's ftype).
QUANTIZED = {"q4_0": (2, 2), "q4_1": (3, 3)}

#: On disk: magic of a ggml and of a ggmf file.
MAGICS = {"ggml": b"lmgg", "ggmf": b"fmgg"}


@pytest.fixture(scope="module")
def config():
    """Wide enough that half a row is a whole number of blocks: 64 and 192 columns in two shards."""
    return old_config(dim=64, hidden_dim=192, n_layers=1)


@pytest.fixture(scope="module")
def weights(config):
    return random_weights(config, np.random.default_rng(613))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, config, weights, sentencepiece_model):
    """The original: Meta's layout in one shard."""
    return write_meta_folder(
        tmp_path_factory.mktemp("original") / "meta", config, weights, multiple_of=MULTIPLE_OF,
        tokenizer=sentencepiece_model,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pieces(sentencepiece_model):
    return sentencepiece_vocabulary(sentencepiece_model)


def shards_of(path: Path) -> list[bytes]:
    return [p.read_bytes() for p in sorted(path.parent.glob(path.name + "*"))]


@pytest.mark.parametrize("dtype", ["f16", "f32"])
@pytest.mark.parametrize("fmt", ["ggml", "ggmf"])
@pytest.mark.parametrize("by", ["our own writer", "hand"])
def test_two_shards_become_the_bytes_of_the_one_shard_original(
    tmp_path, config, weights, folder, pieces, sentencepiece_model, fmt, dtype, by
):
    convert(folder, tmp_path / "direct.bin", to="ggjt-v1", type=dtype)
    shards = tmp_path / "shards" / "model.bin"
    shards.parent.mkdir()
    if by == "hand":
        write_ggml_shards(
            shards, 2, config, weights, pieces, magic=MAGICS[fmt], dtype=dtype,
            multiple_of=MULTIPLE_OF,
        )  # fmt: skip
    else:
        convert(folder, shards, to=fmt, type=dtype, shards=2)
    assert len(shards_of(shards)) == 2
    done = convert(shards, tmp_path / "joined.bin", to="ggjt-v1", tokenizer=sentencepiece_model)
    assert done.joined_bytes > 0
    assert (tmp_path / "joined.bin").read_bytes() == (tmp_path / "direct.bin").read_bytes()


@pytest.mark.parametrize("fmt", ["ggml", "ggmf"])
def test_the_shards_that_we_write_are_those_written_by_hand(
    tmp_path, config, weights, folder, pieces, fmt
):
    ours, theirs = tmp_path / "ours" / "model.bin", tmp_path / "theirs" / "model.bin"
    for path in (ours, theirs):
        path.parent.mkdir()
    convert(folder, ours, to=fmt, shards=2)
    write_ggml_shards(
        theirs, 2, config, weights, pieces, magic=MAGICS[fmt], multiple_of=MULTIPLE_OF
    )
    assert shards_of(ours) == shards_of(theirs)


def quantized_shard(
    config, weights, pieces, type_name: str, shard: int, n_shards: int, *, aligned: bool = False
) -> bytes:
    """One shard of a file whose matrices were quantized block by block, each shard for itself."""
    type_id, ftype = QUANTIZED[type_name]
    data = (b"tjgg" if aligned else b"fmgg") + struct.pack(
        "<8i", 1, config.vocab_size, config.dim, MULTIPLE_OF, config.n_heads, config.n_layers,
        config.dim // config.n_heads, ftype,
    )  # fmt: skip
    for text, score in pieces:
        data += struct.pack("<I", len(text)) + text + struct.pack("<f", score)
    for name, array in weights.items():
        stored_name = meta_name(name).encode()
        piece = shard_of(meta_name(name), array, shard, n_shards)
        is_matrix = piece.ndim == 2
        data += struct.pack("<3i", piece.ndim, len(stored_name), type_id if is_matrix else 0)
        data += struct.pack(f"<{piece.ndim}i", *piece.shape[::-1]) + stored_name
        data += bytes(-len(data) % 32) if aligned else b""
        if is_matrix:
            blocks = piece.reshape(-1, 32).tolist()
            data += b"".join(quantized_block(f"{type_name}_v1", block) for block in blocks)
        else:
            data += piece.tobytes()
    return data


@pytest.mark.parametrize("type_name", QUANTIZED)
def test_quantizing_each_shard_and_merging_is_merging_and_quantizing(
    tmp_path, config, weights, folder, pieces, type_name
):
    # merged first, then quantized: block by block by hand, and by our converter
    merged = quantized_shard(config, weights, pieces, type_name, 0, 1, aligned=True)
    convert(folder, tmp_path / "f16.bin", to="ggjt-v1", type="f16")
    convert(tmp_path / "f16.bin", tmp_path / "merged.bin", to="ggjt-v1", type=type_name)
    assert (tmp_path / "merged.bin").read_bytes() == merged
    # quantized first, each shard for itself; by hand, and by our converter
    by_hand, ours = tmp_path / "hand" / "q.bin", tmp_path / "ours" / "q.bin"
    for path in (by_hand, ours):
        path.parent.mkdir()
    by_hand.write_bytes(quantized_shard(config, weights, pieces, type_name, 0, 2))
    by_hand.with_name("q.bin.1").write_bytes(
        quantized_shard(config, weights, pieces, type_name, 1, 2)
    )
    convert(folder, ours, to="ggmf", type=type_name, shards=2)
    assert shards_of(ours) == shards_of(by_hand)
    for shards in (by_hand, ours):
        done = convert(shards, tmp_path / "joined.bin", to="ggjt-v1")
        assert not done.losses
        assert (tmp_path / "joined.bin").read_bytes() == merged


def test_shards_and_the_joined_file_compute_the_same(tmp_path, folder):
    (tmp_path / "shards").mkdir()
    convert(folder, tmp_path / "shards" / "model.bin", to="ggmf", shards=2)
    convert(tmp_path / "shards" / "model.bin", tmp_path / "joined.bin", to="ggjt-v1")
    comparison = compare(tmp_path / "shards" / "model.bin", tmp_path / "joined.bin")
    assert comparison.same and comparison.logits_largest == 0.0
    assert comparison.logits_scale > 0
    with load(tmp_path / "shards" / "model.bin") as shards, load(tmp_path / "joined.bin") as joined:
        assert shards.loading.copied_bytes > 0 and joined.loading.copied_bytes == 0


# --- published files ----------------------------------------------------------------------------


def test_stories260k_computes_the_same_from_llama2c_and_from_gguf(real):
    tokens = [1, 403, 407, 261, 378, 4, 511, 0]
    with (
        load(real / "models" / "stories260K.bin") as a,
        load(real / "models" / "stories260K.gguf") as b,
    ):
        difference = np.abs(a.logits(tokens) - b.logits(tokens))
        assert np.abs(a.logits(tokens)).max() > 1
    assert difference.max() == 0.0


def test_a_random_gguf_of_32000_pieces_loads_and_computes(real):
    with load(real / "models" / "tiny-random-llama.gguf") as llama:
        logits = llama.logits(llama.tokenizer.encode("Hello world"))
        assert logits.shape[1] == len(llama.checkpoint.vocabulary) == 32000
        assert np.isfinite(logits).all() and logits.std() > 0
        assert llama.loading.copied_bytes == 0


def spm_cases(real: Path) -> list[tuple[str, list[int]]]:
    texts = (real / "vectors" / "ggml-vocab-llama-spm.gguf.inp").read_bytes().decode()
    ids = (real / "vectors" / "ggml-vocab-llama-spm.gguf.out").read_text()
    cases = zip(texts.split("\n__ggml_vocab_test__\n"), ids.split("\n"), strict=True)
    return [(text, [int(token) for token in line.split()]) for text, line in cases]


def test_llama_cpps_own_cases_are_encoded_alike_from_the_model_and_through_gguf(tmp_path, real):
    path = real / "models" / "tokenizer.model"
    config = old_config(vocab_size=32000, dim=8, hidden_dim=24, n_heads=2, n_kv_heads=2)
    weights = random_weights(config, np.random.default_rng(2))
    folder = write_meta_folder(
        tmp_path / "meta", config, weights, multiple_of=8, tokenizer=path
    )  # fmt: skip
    convert(folder, tmp_path / "model.gguf", to="gguf")
    convert(folder, tmp_path / "model.ggjt", to="ggjt-v1")
    tokenizers = {
        "sentencepiece": SentencePieceTokenizer(path),
        "tokenizer.model": tokenizer_of(read_vocabulary(path)),
        "gguf": tokenizer_of(read_gguf(tmp_path / "model.gguf").vocabulary),
        "ggjt": tokenizer_of(read_checkpoint(tmp_path / "model.ggjt").vocabulary),
    }
    cases = spm_cases(real)
    assert len(cases) == 47 and sum(len(ids) for _, ids in cases) > 400
    wrong = [
        (name, text)
        for text, expected in cases
        for name, tokenizer in tokenizers.items()
        if tokenizer.encode(text, bos=False) != expected
    ]
    assert wrong == []


def test_the_weights_of_a_published_file_survive_the_way_through_every_float_format(tmp_path, real):
    source = real / "models" / "stories260K.gguf"
    for to, name in (("gguf", "a.gguf"), ("safetensors", "b.safetensors")):
        convert(source, tmp_path / name, to=to, type="f32")
        before, after = read_checkpoint(source), read_checkpoint(tmp_path / name)
        with MappedFile(source) as a, MappedFile(tmp_path / name) as b:
            for tensor, spec in before.tensors.items():
                if tensor.endswith((".wq", ".wk")) and to == "safetensors":
                    continue  # their rows stand in another order there
                np.testing.assert_array_equal(
                    dequantize(a.view(spec)), dequantize(b.view(after.tensors[tensor]))
                )
        assert compare(source, tmp_path / name, 1e-5).same
