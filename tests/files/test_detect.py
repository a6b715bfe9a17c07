"""Told by content: what is a checkpoint, what is something else, and what to do about it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from helpers.small_models import (
    ggml_file,
    llama2c_v0,
    old_config,
    random_weights,
    small_vocabulary,
    write_meta_folder,
)

from llama_edu.errors import FormatError
from llama_edu.files.detect import read_checkpoint

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
    [("/dev/null", "is empty, expected a weight file"), ("/dev/zero", r"starts with b'\\x00")],
)
def test_a_device_cannot_be_mapped_and_is_named(device, sentence):
    if not Path(device).is_char_device():
        pytest.skip(f"this system has no {device}")
    with pytest.raises(FormatError, match=sentence):
        read_checkpoint(device)
