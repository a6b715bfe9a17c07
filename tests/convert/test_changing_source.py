"""Files that change during a conversion: the source meanwhile, the destination at its end."""

from __future__ import annotations

import os

import pytest
from helpers.small_models import (
    ggml_file,
    names_in,
    old_config,
    random_weights,
    small_vocabulary,
)

from llama_edu.convert import convert
from llama_edu.errors import FormatError

#: Target and the names of what is written.
TARGETS = {
    "one file": ("out", {"to": "gguf"}),
    "two shards": ("out", {"to": "ggmf", "shards": 2}),
    "a folder": ("out", {"to": "safetensors"}),
}


@pytest.fixture
def source(tmp_path, rng):
    config = old_config()
    path = tmp_path / "model.bin"
    path.write_bytes(ggml_file(config, random_weights(config, rng), small_vocabulary(300)))
    return path


def truncate(source):
    os.truncate(source, 1000)


def overwrite(source):
    """In place, with as many bytes."""
    n_bytes = source.stat().st_size
    with source.open("r+b") as file:
        file.seek(n_bytes - 8)
        file.write(bytes(8))
    os.utime(source, ns=(1, 1))  # a clock that is coarse must not decide


def replace(source):
    (source.parent / "new").write_bytes(bytes(source.stat().st_size))
    (source.parent / "new").replace(source)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (truncate, "ends after .* bytes; the file shrank after it was opened"),
        (overwrite, "was changed after it was opened"),
        (replace, "was replaced after it was opened"),
    ],
    ids=["truncated", "overwritten", "replaced"],
)
def test_a_source_that_changes_is_said_and_the_destination_stays(
    tmp_path, source, target, change, sentence
):
    name, options = TARGETS[target]
    there = tmp_path / "there"
    there.mkdir()
    convert(source, there / name, **options)
    before = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    names = names_in(there)
    done = []

    def progress(n_bytes, _):
        done.append(n_bytes)
        if len(done) == 2:
            change(source)

    with pytest.raises(FormatError, match=sentence):
        convert(source, there / name, progress=progress, **options)
    after = {path: path.read_bytes() for path in there.rglob("*") if path.is_file()}
    assert after == before and names_in(there) == names


@pytest.mark.parametrize("target", TARGETS)
def test_a_destination_that_cannot_be_read_again_is_named_as_in_place(
    tmp_path, source, monkeypatch, target
):
    from llama_edu.convert import losses

    def refuse(path):
        raise FormatError(f"{path}: ends too early")

    monkeypatch.setattr(losses, "_read_again", refuse)
    name, options = TARGETS[target]
    sentence = "out: is written and in its place, but could not be read again .* ends too early"
    with pytest.raises(FormatError, match=sentence):
        convert(source, tmp_path / name, **options)
    assert (tmp_path / name).exists()
