"""Readers of one format called with a path, as `read_checkpoint` calls the one that it chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from llama_edu.files.fields import Field
from llama_edu.files.ggml import reader as ggml
from llama_edu.files.gguf import fields as gguf_fields_of
from llama_edu.files.gguf import reader as gguf
from llama_edu.files.huggingface import folder as huggingface
from llama_edu.files.huggingface import safetensors
from llama_edu.files.layout import Checkpoint
from llama_edu.files.llama2c import reader as llama2c
from llama_edu.files.mapped import MappedFile, OpenFiles
from llama_edu.files.torch import pth


def _closing(read: Callable[[Path, OpenFiles], Checkpoint]) -> Callable[[Path], Checkpoint]:
    def read_path(path: Path) -> Checkpoint:
        with OpenFiles() as files:
            return read(path, files)

    return read_path


def _opening(fields: Callable[[MappedFile], Iterator[Field]]) -> Callable[[Path], Iterator[Field]]:
    return lambda path: fields(MappedFile(path))


read_ggml = _closing(ggml.read_ggml)
read_gguf = _closing(gguf.read_gguf)
read_huggingface = _closing(huggingface.read_huggingface)
read_llama2c = _closing(llama2c.read_llama2c)
read_safetensors = _closing(safetensors.read_safetensors)

ggml_fields = _opening(ggml.ggml_fields)
gguf_fields = _opening(gguf_fields_of.gguf_fields)
safetensors_fields = _opening(safetensors.safetensors_fields)


def read_pth(path: Path) -> pth.PthContents:
    with MappedFile(path) as mapped:
        return pth.read_pth(mapped)
