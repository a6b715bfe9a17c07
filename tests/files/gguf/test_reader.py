"""GGUF files written by hand are read as they say."""

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.gguf_by_hand import KINDS, SCORES, TOKENS, Gguf, gguf_bytes, gguf_keys, gguf_shapes
from helpers.opened import gguf_fields, read_gguf

from llama_edu.config import ModelConfig, RopeScaling
from llama_edu.errors import FormatError
from llama_edu.files.gguf import string_array
from llama_edu.files.mapped import MappedFile
from llama_edu.files.names import to_ours
from llama_edu.loading import load
from llama_edu.quants.blocks import dequantize

VARIANTS = [
    pytest.param(order, version, alignment, id=f"v{version}{order}{alignment}")
    for order, version, alignment in (
        ("<", 3, 32), ("<", 2, 64), ("<", 1, 8), (">", 3, 32), (">", 3, 4096), ("<", 3, 1),
    )
]  # fmt: skip


def write(folder: Path, data: bytes, name: str = "model.gguf") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("order", "version", "alignment"), VARIANTS)
def test_a_file_written_by_hand_is_read_in_place(tmp_path, order, version, alignment):
    path = write(tmp_path, gguf_bytes(Gguf(order, version), alignment=alignment))
    checkpoint = read_gguf(path)
    assert checkpoint.format.startswith(f"GGUF v{version}")
    assert ("big-endian" in checkpoint.format) == (order == ">")
    assert checkpoint.config == ModelConfig(
        dim=12, hidden_dim=20, n_layers=2, n_heads=3, n_kv_heads=1, vocab_size=7, max_seq_len=9,
        norm_eps=1e-5,
    )  # fmt: skip
    n = 0
    with MappedFile(path) as mapped:
        for name, shape in gguf_shapes().items():
            spec = checkpoint.tensors[to_ours(name, "gguf")]
            view = mapped.view(spec)
            assert not view.flags.owndata
            assert (spec.stored_name, spec.shape) == (name, shape)
            expected = np.arange(n, n + math.prod(shape), dtype=np.float32).reshape(shape)
            np.testing.assert_array_equal(dequantize(view), expected)
            n += expected.size
            del view


@pytest.mark.parametrize(("order", "version", "alignment"), VARIANTS)
def test_sections_and_tensors_are_every_byte_once(tmp_path, order, version, alignment):
    path = write(tmp_path, gguf_bytes(Gguf(order, version), alignment=alignment) + bytes(5))
    checkpoint = read_gguf(path)
    runs = [(s.offset, s.n_bytes) for s in checkpoint.sections]
    runs += [(t.offset, t.n_bytes) for t in checkpoint.tensors.values()]
    end = 0
    for offset, n_bytes in sorted(runs):
        assert offset == end
        end += n_bytes
    assert end == path.stat().st_size
    assert checkpoint.metadata["alignment_bytes"] == alignment
    assert "gaps_bytes" not in checkpoint.metadata


@pytest.mark.parametrize(("order", "version", "alignment"), VARIANTS)
def test_fields_of_the_hex_view_are_every_byte_once(tmp_path, order, version, alignment):
    path = write(tmp_path, gguf_bytes(Gguf(order, version), alignment=alignment) + bytes(5))
    end, by_name = 0, {}
    for field in gguf_fields(path):
        assert field.offset == end
        end = field.end
        by_name[field.name] = field
    assert end == path.stat().st_size
    assert by_name["version"].value == str(version)
    assert by_name["tokenizer.ggml.tokens[5]: text"].value == "b'b'"
    assert by_name["tokenizer.ggml.scores[6]"].value == "-3.0"
    assert by_name["llama.block_count: value"].value == "2"


def test_pieces_are_plain_bytes(tmp_path):
    vocabulary = read_gguf(write(tmp_path, gguf_bytes())).vocabulary
    assert vocabulary.pieces[:] == list(vocabulary.pieces) == [
        " \u2047 ".encode(), b"", b"", b"\n", b" a", b"b", b" ab"
    ]  # fmt: skip
    assert vocabulary.scores.tolist() == SCORES and vocabulary.scores.dtype == np.float32
    assert vocabulary.kinds.tolist() == KINDS
    assert (vocabulary.unk_id, vocabulary.bos_id, vocabulary.eos_id) == (0, 1, 2)
    assert vocabulary.add_bos and vocabulary.add_space_prefix


def test_strings_of_the_first_writer_lose_their_nul(tmp_path):
    class Terminated(Gguf):
        def string(self, text):
            raw = text.encode() if isinstance(text, str) else text
            return super().string(raw + b"\0")

    path = write(tmp_path, gguf_bytes(Terminated(version=1)))
    checkpoint = read_gguf(path)
    assert checkpoint.metadata["general.architecture"] == "llama"
    assert checkpoint.vocabulary.pieces[4] == b" a"
    assert checkpoint.tensors["output"].stored_name == "output.weight"


def test_kinds_are_told_from_the_spelling_where_the_file_does_not_give_them(tmp_path):
    path = write(tmp_path, gguf_bytes(tokenizer__ggml__token_type=None))
    assert read_gguf(path).vocabulary.kinds.tolist() == KINDS


def test_a_file_without_output_ties_it_to_the_embedding(tmp_path):
    checkpoint = read_gguf(write(tmp_path, gguf_bytes(tied=True)))
    assert checkpoint.tied_output and len(checkpoint.tensors) == 20


def test_bytes_between_tensors_are_counted(tmp_path):
    g, infos, offset = Gguf(), [], 64
    for name, shape in gguf_shapes().items():
        infos.append(g.info(name, shape[::-1], 0, offset))
        offset += -(-4 * math.prod(shape) // 32) * 32
    data = g.file(gguf_keys(g), infos, bytes(offset))
    assert read_gguf(write(tmp_path, data)).metadata["gaps_bytes"] == 64


def test_divisors_of_rope_are_handed_on_and_cannot_be_forged(tmp_path):
    g = Gguf()
    path = write(tmp_path, gguf_bytes(rope_freqs=g.kv("rope_freqs", "string", "forged")))
    assert "rope_freqs" not in read_gguf(path).metadata
    end = 4 * sum(math.prod(s) + -math.prod(s) % 8 for s in gguf_shapes().values())
    extra = [g.info("rope_freqs.weight", (2,), 0, end)]
    path = write(tmp_path, gguf_bytes(extra_infos=extra) + bytes(8))
    spec = read_gguf(path).metadata["rope_freqs"]
    assert (spec.shape, spec.type, spec.n_bytes) == ((2,), "f32", 8)
    assert spec.end == path.stat().st_size


def test_a_factor_without_a_type_is_linear_as_in_llama_cpp(tmp_path):
    g = Gguf()
    changes = {"llama__rope__scaling__factor": g.kv("llama.rope.scaling.factor", "f32", 2.5)}
    config = read_gguf(write(tmp_path, gguf_bytes(g, **changes))).config
    assert config.rope_scaling == RopeScaling("linear", 2.5)
    changes["llama__rope__scale_linear"] = g.kv("llama.rope.scale_linear", "f32", 7.0)
    config = read_gguf(write(tmp_path, gguf_bytes(g, **changes))).config
    assert config.rope_scaling == RopeScaling("linear", 2.5)  # the old key counts only alone
    changes["llama__rope__scaling__type"] = g.kv("llama.rope.scaling.type", "string", "none")
    assert read_gguf(write(tmp_path, gguf_bytes(g, **changes))).config.rope_scaling is None


@pytest.mark.parametrize("name", ["bos", "eos", "unknown"])
@pytest.mark.parametrize("token", [7, 1000, 2**32 - 1])
def test_an_id_that_no_piece_has_is_none(tmp_path, name, token):
    """Conversions of autumn 2023 named the id after the last piece; llama.cpp opens them too."""
    g, key = Gguf(), f"tokenizer.ggml.{name}_token_id"
    found = read_gguf(
        write(tmp_path, gguf_bytes(g, **{key.replace(".", "__"): g.kv(key, "u32", token)}))
    )
    ids = {"bos": found.vocabulary.bos_id, "eos": found.vocabulary.eos_id}
    assert (ids | {"unknown": found.vocabulary.unk_id})[name] == -1


@pytest.mark.parametrize("key", ["rope.scaling.factor", "rope.scale_linear"])
def test_linear_scaling_is_read_in_both_spellings(tmp_path, key):
    g = Gguf()
    keys = [*gguf_keys(g), g.kv(f"llama.{key}", "f32", 2.5)]
    if "factor" in key:
        keys.append(g.kv("llama.rope.scaling.type", "string", "linear"))
    config = read_gguf(write(tmp_path, gguf_bytes(keys=keys))).config
    assert config.rope_scaling == RopeScaling("linear", 2.5)


def test_opening_builds_no_object_per_piece(tmp_path, monkeypatch):
    taken = []
    take = string_array.ByteStrings.__getitem__
    monkeypatch.setattr(
        string_array.ByteStrings, "__getitem__", lambda s, i: taken.append(i) or take(s, i)
    )
    checkpoint = read_gguf(write(tmp_path, gguf_bytes()))
    # the byte pieces, whose form is checked, and the special ones, which may be named as an end
    assert len(taken) <= KINDS.count(6) + KINDS.count(3) + KINDS.count(4)
    assert checkpoint.vocabulary.pieces[6] == b" ab"


def test_a_vocabulary_of_another_kind_does_not_forbid_the_model(tmp_path):
    g = Gguf()
    changed = gguf_bytes(tokenizer__ggml__model=g.kv("tokenizer.ggml.model", "string", "bert"))
    path = write(tmp_path, changed)
    checkpoint = read_gguf(path)
    assert checkpoint.vocabulary is None
    assert "is 'bert', expected llama or gpt2" in checkpoint.vocabulary_problem
    with load(path) as llama:
        with np.errstate(all="ignore"):  # the weights count up to thousands
            assert llama.logits([1, 2]).shape == (2, 7)
        with pytest.raises(FormatError, match=r"is 'bert', expected llama or gpt2.*--tokenizer"):
            llama.generate("a")


def test_rows_beyond_the_tokens_of_a_file_decode_to_nothing(tmp_path):
    g = Gguf()
    path = write(tmp_path, gguf_bytes(
        tokenizer__ggml__tokens=g.array("tokenizer.ggml.tokens", "string", TOKENS[:6]),
        tokenizer__ggml__scores=None, tokenizer__ggml__token_type=None,
    ))  # fmt: skip
    with load(path) as llama:
        assert llama.tokenizer.vocab_size == llama.config.vocab_size == 7
        assert llama.tokenizer.piece(6) == b""


def test_a_missing_base_of_rope_is_assumed_and_named(tmp_path):
    path = write(tmp_path, gguf_bytes())
    assert read_gguf(path).assumed == {
        "rope_theta": "llama.rope.freq_base is missing; llama.cpp's default"
    }
    g = Gguf()
    stated = gguf_bytes(llama__rope__freq_base=g.kv("llama.rope.freq_base", "f32", 5e5))
    assert not read_gguf(write(tmp_path, stated)).assumed
