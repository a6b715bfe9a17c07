"""Told by content: what is a checkpoint, what is something else, and what to do about it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers.gguf_by_hand import Gguf, gguf_bytes, gguf_keys
from helpers.small_models import (
    ggml_file,
    llama2c_v0,
    old_config,
    random_weights,
    small_vocabulary,
    write_meta_folder,
)

from llama_edu.errors import FormatError
from llama_edu.files.detect import read_checkpoint, vocabulary_alone

SOMETHING_ELSE = {
    "Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
        "this is a Git LFS pointer, not the file; run: git lfs pull",
    ),
    "HTML page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", "this is an HTML page"),
    "HTML page after blank lines": (b"\n\n  <HTML><head>", "this is an HTML page"),
    "XML error": (b'<?xml version="1.0"?><Error><Code>AccessDenied', "this is an HTML page"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(40), "this is a PNG picture; check the path"),
    "JPEG": (b"\xff\xd8\xff\xe0" + bytes(40), "this is a JPEG picture"),
    "PDF": (b"%PDF-1.7\n" + bytes(40), "this is a PDF document"),
    "gzip": (b"\x1f\x8b\x08" + bytes(40), "this is compressed with gzip; run: gunzip"),
    "xz": (b"\xfd7zXZ\0" + bytes(40), "this is compressed with xz"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(40), "this is compressed with zstd"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(40), "this is a 7z archive; unpack it first"),
    "numpy": (b"\x93NUMPY\x01\0" + bytes(40), "this is one numpy array"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(40), "this is an HDF5 file"),
    "JSON": (b'{"dim": 64}', "this is JSON text"),
    "JSON on a later line": (b'\n  {"dim": 64}', "this is JSON text"),
    "sentencepiece": (b"\n\x0e\n\x05<unk>\x15" + bytes(40), "this is a sentencepiece tokenizer"),
    "tiktoken": (b"IQ== 0\nIg== 1\nIw== 2\n", "this is a tiktoken vocabulary; give it with --tok"),
    "ggla": (b"algg\1\0\0\0" + bytes(60), "this is a LoRA adapter of 2023 .*; give the base model"),
    "imatrix.dat": (
        b"\2\0\0\0\x13\0\0\0blk.0.attn_q.weight\1\0\0\0\x20\0\0\0" + bytes(128),
        "this is an importance matrix, .*; give the model itself",
    ),
    "a line end and noise": (b"\n" + bytes(range(90, 190)), r"starts with b'\\nZ.*check what was"),
    "a line end and a length": (b"\n\x0e\n\x50" + bytes(90), r"starts with b'\\n.*check what was"),
    "zeros": (bytes(5000), r"starts with b'\\x00.*check what was downloaded"),
    "text": (b"hello", "starts with b'hello', expected ggml, ggmf, ggjt, GGUF, safetensors"),
    "one byte": (b"l", "starts with b'l', expected"),
    "an escape": (b"\x1b[2J\x07", r"starts with b'\\x1b\[2J\\x07', expected"),
}


@pytest.mark.parametrize(("data", "sentence"), SOMETHING_ELSE.values(), ids=SOMETHING_ELSE.keys())
@pytest.mark.parametrize("name", ["model.gguf", "model.bin"])
def test_something_else_is_named_with_what_to_do(tmp_path, name, data, sentence):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(FormatError, match=sentence) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("magic", [b"lmgg", b"fmgg", b"tjgg", b"GGUF", b"24ka", b"PK\3\4"])
def test_a_magic_alone_is_refused(tmp_path, magic):
    path = tmp_path / "model.bin"
    for data in (magic, magic + b"\1\0\0\0", magic + bytes(100)):
        path.write_bytes(data)
        with pytest.raises(FormatError, match=r"model\.bin: "):
            read_checkpoint(path)


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "model.bin").touch()
    with pytest.raises(FormatError, match="is empty, expected a weight file; download it again"):
        read_checkpoint(tmp_path / "model.bin")


def test_a_zip_is_named_and_one_shard_points_to_its_folder(tmp_path, rng):
    with zipfile.ZipFile(tmp_path / "model.bin", "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(FormatError, match=r"model.bin: (is )?a zip"):
        read_checkpoint(tmp_path / "model.bin")
    old = old_config()
    folder = write_meta_folder(tmp_path / "meta", old, random_weights(old, rng), n_shards=2)
    with pytest.raises(
        FormatError, match=r"one shard of .* Meta's layout.* give its folder, \S+meta"
    ):
        read_checkpoint(folder / "consolidated.01.pth")


def test_a_missing_file_and_a_bad_name_are_named(tmp_path):
    with pytest.raises(FormatError, match="none: no such file; check the path"):
        read_checkpoint(tmp_path / "none")
    for name in ("x" * 300, "a\0b"):
        with pytest.raises(FormatError, match="cannot be opened"):
            read_checkpoint(tmp_path / name)


def test_a_folder_without_weights_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"this folder has neither consolidated.00.pth"):
        read_checkpoint(tmp_path)


def test_the_name_of_a_file_decides_nothing(tmp_path, config, weights, rng):
    old = old_config()
    old_weights = random_weights(old, rng)
    files = {
        "a.gguf": (llama2c_v0(config, weights), "llama2.c v0"),
        "b.pth": (ggml_file(old, old_weights, small_vocabulary(300), magic=b"fmgg"), "ggmf v1"),
        "c.bin": (ggml_file(old, old_weights, small_vocabulary(300)), "ggjt v1"),
        "d": (ggml_file(old, old_weights, small_vocabulary(300), version=3), "ggjt v3"),
    }
    for name, (data, expected) in files.items():
        (tmp_path / name).write_bytes(data)
        assert read_checkpoint(tmp_path / name).format == expected
        assert read_checkpoint(str(tmp_path / name)).format == expected
    folder = write_meta_folder(tmp_path / "e.gguf", old, old_weights)
    assert read_checkpoint(folder).format == "Meta .pth, 1 shard"


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("/dev/null", "is a device, expected a weight"),
        ("/dev/zero", "is a device, expected a weight"),
    ],
)
def test_a_device_cannot_be_mapped_and_is_named(device, sentence):
    if not Path(device).is_char_device():
        pytest.skip(f"this system has no {device}")
    with pytest.raises(FormatError, match="is a device, expected a weight file"):
        read_checkpoint(device)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_keeps_no_reader_waiting_wherever_it_stands(tmp_path):
    from llama_edu.show.runtime.found_models import found_models
    from llama_edu.show.text.hexview import hex_view

    meta = tmp_path / "meta"
    meta.mkdir()
    for path in (tmp_path / "pipe", meta / "consolidated.00.pth", meta / "params.json"):
        os.mkfifo(path)
    for path in (tmp_path / "pipe", meta):
        with pytest.raises(FormatError, match="is a pipe, which cannot be mapped; save what it gi"):
            read_checkpoint(path)
    with pytest.raises(FormatError, match="is a pipe"):
        hex_view(tmp_path / "pipe", 8)
    assert found_models(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="no /dev/stdin")
def test_standard_input_is_a_pipe_or_a_file(tmp_path, config, weights):
    path = tmp_path / "m.bin"
    path.write_bytes(llama2c_v0(config, weights))
    inspect = [sys.executable, "-m", "llama_edu", "inspect", "/dev/stdin"]
    piped = subprocess.run(inspect, input=path.read_bytes(), capture_output=True, check=False)
    assert piped.returncode == 2 and b"/dev/stdin: is a pipe, which cannot" in piped.stderr
    with path.open("rb") as file:
        assert subprocess.run(inspect, stdin=file, capture_output=True, check=False).returncode == 0


def test_a_folder_says_what_is_in_it(tmp_path):
    cases = {
        "adapter": (
            ["adapter_config.json", "adapter_model.safetensors"],
            "is the folder of a LoRA",
        ),
        "mistral": (
            ["consolidated.safetensors"],
            "params.json: is missing; the sizes of the model",
        ),
        "one": (["m.gguf"], r"one/m.gguf: starts with b'{}', expected a weight file"),
        "more": (
            ["a.gguf", "b.gguf", "c-00001-of-00002.gguf", "c-00002-of-00002.gguf"],
            r"holds 3 files of weights, expected one: a.gguf \(2 bytes\), b.gguf \(2 bytes\), "
            r"c-00001-of-00002.gguf \(2 files, 4 bytes\); give one of them",
        ),
        "many": (
            [f"{i:02d}.gguf" for i in range(13)],
            r"holds 13 files .*: 00.gguf \(2 bytes\), .*, 09.gguf \(2 bytes\) and 3 more; give",
        ),
        "two kinds": (["a.gguf", "b.safetensors"], "holds 2 files of weights, expected one: a.gg"),
        "empty": ([], "this folder has neither"),
    }
    for name, (files, sentence) in cases.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_bytes(b"{}")
        with pytest.raises(FormatError, match=sentence):
            read_checkpoint(tmp_path / name)


def test_one_file_of_mistrals_layout_says_where_its_sizes_are(tmp_path):
    table = b'{"tok_embeddings.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}'
    path = tmp_path / "consolidated.safetensors"
    path.write_bytes(len(table).to_bytes(8, "little") + table + bytes(8))
    (tmp_path / "params.json").write_text("{}")
    with pytest.raises(FormatError, match=r"next to params.json, as in Mistral's layout: give the"):
        read_checkpoint(path)


PARTS = {
    "m.gguf-split-a": "m.gguf",
    "m.gguf-split-b": "m.gguf",
    "m.gguf.part1of2": "m.gguf",
    "m.gguf.part-aa": "m.gguf",
    "m.bin.001": "m.bin",
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_file_that_was_cut_says_to_join_it(tmp_path, name):
    path = tmp_path / name
    for data in (b"\n" + bytes(range(90, 190)), b"GGUF\3\0\0\0" + bytes(50)):
        path.write_bytes(data)
        expected = rf"one part of a file that was cut: join all .* into {PARTS[name]}$"
        with pytest.raises(FormatError, match=expected):
            read_checkpoint(path)


GGUF_KINDS = {
    "adapter": "this is a LoRA adapter, which changes a base model and is none itself; give",
    "imatrix": "this is an importance matrix, which helps to quantize a model; give the model",
    "mmproj": "the part of a model that reads pictures; give the file of the language model",
}


@pytest.mark.parametrize("kind", GGUF_KINDS)
def test_a_gguf_of_another_kind_is_named(tmp_path, kind):
    g = Gguf()
    (tmp_path / "m.gguf").write_bytes(g.file([g.kv("general.type", "string", kind)], [], b""))
    with pytest.raises(FormatError, match=GGUF_KINDS[kind]):
        read_checkpoint(tmp_path / "m.gguf")


def test_a_gguf_with_a_vocabulary_alone_can_be_used_for_that(tmp_path):
    whole = tmp_path / "whole.gguf"
    whole.write_bytes(gguf_bytes())
    assert vocabulary_alone(whole) is None
    assert vocabulary_alone(tmp_path) is None
    assert vocabulary_alone(tmp_path / "none") is None
    alone = tmp_path / "alone.gguf"
    g = Gguf()
    alone.write_bytes(g.file(gguf_keys(g), [], b""))
    with pytest.raises(FormatError, match="a vocabulary and no tensors; llama-edu tokenize can"):
        read_checkpoint(alone)
    assert len(vocabulary_alone(alone)) == len(read_checkpoint(whole).vocabulary)


def test_a_path_may_begin_with_the_home_folder(tmp_path, config, weights, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "m.bin").write_bytes(llama2c_v0(config, weights))
    assert read_checkpoint("~/m.bin").paths == (tmp_path / "m.bin",)
    with pytest.raises(FormatError, match=r"~nobody-has-this-name/m.bin: no such file"):
        read_checkpoint("~nobody-has-this-name/m.bin")
