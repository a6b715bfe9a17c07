"""What is not understood and goes from GGUF to GGUF all the same, byte for byte."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from gguf import GGUFReader
from helpers.gguf_by_hand import Gguf, gguf_bytes, gguf_keys, gguf_shapes
from helpers.small_models import ggml_file, old_config, random_weights, small_vocabulary

from llama_edu import load
from llama_edu.convert import convert
from llama_edu.errors import FormatError
from llama_edu.files.detect import read_checkpoint

#: Not UTF-8: a byte that begins nothing, a surrogate, a letter of Latin-1, a cut character.
RAW = b"a\xff\xed\xa0\x80\xe9\xe2\x82"


def fields(path) -> dict[str, tuple[list[int], list[bytes]]]:
    """Key -> types and the bytes of the values, by gguf-py."""
    return {
        key: ([int(t) for t in field.types], [field.parts[i].tobytes() for i in field.data])
        for key, field in GGUFReader(path).fields.items()
        if not key.startswith("GGUF.")
    }


def written(path, *keys: bytes, **changes: bytes):
    g, rng = Gguf(), np.random.default_rng(7)
    infos, data = [], b""
    for name, shape in gguf_shapes().items():
        infos.append(g.info(name, shape[::-1], 0, len(data)))
        data += rng.standard_normal(shape).astype("<f4").tobytes()
        data += bytes(-len(data) % 32)
    path.write_bytes(g.file([*gguf_keys(g, **changes), *keys], infos, data))
    return path


def unknown(path):
    """A vocabulary of a kind that no LLaMA has, with keys of its own."""
    g = Gguf()
    pieces = ["[PAD]", "[CLS]", "[SEP]", "\u2581the", "##ing", "a", "b"]
    return written(
        path,
        g.kv("tokenizer.ggml.bos_token_id", "u32", 1),
        g.kv("tokenizer.ggml.seperator_token_id", "u32", 2),
        g.kv("tokenizer.ggml.pre", "string", "jina-v2-en"),
        g.array("tokenizer.ggml.merges", "string", ["t h", "th e"]),
        g.array("tokenizer.ggml.precompiled_charsmap", "u8", [1, 2, 250]),
        tokenizer__ggml__model=g.kv("tokenizer.ggml.model", "string", "bert"),
        tokenizer__ggml__tokens=g.array("tokenizer.ggml.tokens", "string", pieces),
        tokenizer__ggml__token_type=g.array(
            "tokenizer.ggml.token_type", "u32", [3, 3, 3, 1, 1, 1, 9]
        ),
        tokenizer__ggml__scores=None,
    )


def test_a_vocabulary_of_another_kind_is_carried_to_gguf(tmp_path):
    source = unknown(tmp_path / "m.gguf")
    done = convert(source, tmp_path / "out.gguf", to="gguf")
    assert done.losses == ()
    before, after = fields(source), fields(tmp_path / "out.gguf")
    assert {key for key in before if key.startswith("tokenizer.")} == {
        key for key in after if key.startswith("tokenizer.")
    }
    assert {key: after[key] for key in before} == before
    with load(source) as a, load(tmp_path / "out.gguf") as b:
        np.testing.assert_array_equal(a.logits([1, 5, 6]), b.logits([1, 5, 6]))


def test_a_second_conversion_carries_it_as_well(tmp_path):
    source = unknown(tmp_path / "m.gguf")
    convert(source, tmp_path / "once.gguf", to="gguf", type="f16")
    convert(tmp_path / "once.gguf", tmp_path / "twice.gguf", to="gguf")
    assert (tmp_path / "once.gguf").read_bytes() == (tmp_path / "twice.gguf").read_bytes()


@pytest.mark.parametrize("to", ["ggml", "ggmf", "ggjt-v1", "ggjt-v3"])
def test_the_formats_of_2023_cannot_hold_it(tmp_path, rng, to):
    config = old_config()
    old = ggml_file(config, random_weights(config, rng), small_vocabulary(300))
    (tmp_path / "m.bin").write_bytes(old)
    convert(tmp_path / "m.bin", tmp_path / "m.gguf", to="gguf")
    raw = (tmp_path / "m.gguf").read_bytes()
    key = b"tokenizer.ggml.model" + struct.pack("<IQ", 8, 5)
    assert raw.count(key + b"llama") == 1
    (tmp_path / "m.gguf").write_bytes(raw.replace(key + b"llama", key + b"plamo"))
    with pytest.raises(
        FormatError, match=r"tokenizer.ggml.model is 'plamo', expected llama or gpt"
    ):
        convert(tmp_path / "m.gguf", tmp_path / "out", to=to)


def test_a_folder_names_what_it_has_no_place_for(tmp_path):
    source = unknown(tmp_path / "m.gguf")
    done = convert(source, tmp_path / "folder", to="safetensors")
    named = {loss.partition(":")[0] for loss in done.losses}
    kept = {key for key in fields(source) if key.startswith("tokenizer.")}
    assert {name for name in named if name.startswith("tokenizer.")} == kept
    with load(source) as a, load(tmp_path / "folder") as b:
        np.testing.assert_allclose(a.logits([1, 5, 6]), b.logits([1, 5, 6]), rtol=1e-5)


def test_a_tokenizer_that_is_given_takes_its_place(tmp_path):
    source = unknown(tmp_path / "m.gguf")
    given = struct.pack("<I", 9)  # a tokenizer.bin of seven pieces
    for text in (b"<unk>", b"\n<s>\n", b"\n</s>\n", b"a", b"b", b"ab", b"c"):
        given += struct.pack("<fi", -1.0, len(text)) + text
    (tmp_path / "t.bin").write_bytes(given)
    convert(source, tmp_path / "out.gguf", to="gguf", tokenizer=tmp_path / "t.bin")
    checkpoint = read_checkpoint(tmp_path / "out.gguf")
    assert checkpoint.vocabulary is not None and list(checkpoint.vocabulary.pieces)[5] == b"ab"
    assert "tokenizer.ggml.merges" not in fields(tmp_path / "out.gguf")


def test_texts_that_are_not_utf8_are_carried_byte_for_byte(tmp_path):
    g = Gguf()
    source = written(
        tmp_path / "m.gguf",
        g.kv("general.author", "string", RAW),
        g.kv("tokenizer.chat_template", "string", RAW + b"{{ x }}"),
        g.array("general.tags", "string", [RAW, "b"]),
        g.kv(b"general.\xe9\xff", "string", "named in Latin-1"),
    )
    done = convert(source, tmp_path / "out.gguf", to="gguf", type="f16")
    raw = (tmp_path / "out.gguf").read_bytes()
    assert raw.count(RAW) == 3 and b"general.\xe9\xff" in raw and done.losses == ()
    report = repr(read_checkpoint(source).metadata["general.author"])
    assert "\\udcff" in report and report.isprintable()


def test_a_folder_that_cannot_hold_such_a_text_says_so(tmp_path):
    g = Gguf()
    source = written(tmp_path / "m.gguf", g.kv("tokenizer.chat_template", "string", RAW))
    done = convert(source, tmp_path / "folder", to="safetensors")
    assert any(loss.startswith("tokenizer.chat_template:") for loss in done.losses)


def test_a_header_that_is_no_text_in_a_report(tmp_path, run_cli):
    named = Gguf().kv("general.name", "string", RAW)
    (tmp_path / "m.gguf").write_bytes(gguf_bytes(general__name=named))
    for options in (["--metadata"], ["--json"], ["--hex", "999"]):
        code, out, _ = run_cli("inspect", tmp_path / "m.gguf", *options)
        assert code == 0
        out.encode("utf-8")
