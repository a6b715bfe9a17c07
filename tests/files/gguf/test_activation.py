"""ReLU is said by an architecture of our own, which other programs refuse by its name."""

from __future__ import annotations

import pytest
from helpers.gguf_by_hand import Gguf, gguf_bytes
from helpers.opened import read_gguf

from llama_edu.convert import convert
from llama_edu.errors import FormatError

KEY = "llama_edu.feed_forward_activation"


def file_with(folder, architecture, activation):
    g = Gguf()
    changes = {"general__architecture": g.kv("general.architecture", "string", architecture)}
    if activation is not None:
        changes[KEY.replace(".", "__")] = g.kv(KEY, "string", activation)
    path = folder / "model.gguf"
    path.write_bytes(gguf_bytes(g, **changes))
    return path


@pytest.mark.parametrize(
    ("architecture", "activation", "read"),
    [("llama", None, "silu"), ("llama", "silu", "silu"), ("llama_edu", None, "silu"),
     ("llama_edu", "silu", "silu"), ("llama_edu", "relu", "relu")],
)  # fmt: skip
def test_the_activation_is_read(tmp_path, architecture, activation, read):
    assert read_gguf(file_with(tmp_path, architecture, activation)).config.activation == read


@pytest.mark.parametrize(
    ("architecture", "activation", "expected"),
    [("llama", "relu", "expected silu in"), ("llama_edu", "gelu", "expected silu or relu in"),
     ("llama", "", "expected silu in")],
)  # fmt: skip
def test_an_activation_that_the_architecture_does_not_have_is_refused(
    tmp_path, architecture, activation, expected
):
    with pytest.raises(FormatError, match=f"{KEY} is '{activation}', {expected}"):
        read_gguf(file_with(tmp_path, architecture, activation))


@pytest.mark.parametrize(
    ("activation", "architecture"), [("relu", b"llama_edu"), ("silu", b"llama")]
)
def test_only_what_llama_cannot_say_gets_the_name_that_others_refuse(
    tmp_path, activation, architecture
):
    source = file_with(tmp_path, "llama_edu", activation)
    made = tmp_path / "again.gguf"
    convert(source, made, to="gguf")
    assert read_gguf(made).config.activation == activation
    name = b"general.architecture" + (8).to_bytes(4, "little")
    assert name + len(architecture).to_bytes(8, "little") + architecture in made.read_bytes()
