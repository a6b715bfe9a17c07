"""The formats that this package writes: what each can express, its type names, its writer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.ggml import writer as ggml_write
from llama_edu.files.gguf import writer as gguf_write
from llama_edu.files.gguf.vocabulary import gguf_spelling
from llama_edu.files.huggingface.companions import TOKENIZERS, config_extras, tokenizer_config
from llama_edu.files.huggingface.folder import write_huggingface
from llama_edu.files.huggingface.safetensors_writer import WRITABLE, write_safetensors
from llama_edu.files.huggingface.tokenizer_writer import tokenizer_file
from llama_edu.files.layout import (
    Checkpoint,
    LayoutName,
    LoadTensor,
    PlannedTensor,
    TypedValue,
)
from llama_edu.files.mapped import open_weights
from llama_edu.files.output import atomic_output, atomic_outputs
from llama_edu.files.vocabularies.detect import is_sentencepiece, read_vocabulary
from llama_edu.vocabulary import Vocabulary

#: The name of an output format in Python and on the command line.
FormatName = Literal[ggml_write.FormatName, "gguf", "safetensors"]


@dataclass(frozen=True)
class WriteRequest:
    """Everything that a writer needs.

    Attributes:
        destination: the file, the first of several shards, or the folder to write.
        checkpoint: the source. config: its sizes, with RoPE's pairs side by side.
        tensors: what to write, in this order. load: returns the data of one of them.
        tokenizer_path: a tokenizer file that may be copied into a folder.
        shards: into how many files the tensors are cut.
        carried: what else the source says. settings: GGUF keys that win over all others.
        divisors: (head_dim / 2,) float32, what RoPE's frequencies are divided by, or None.
        layout: how the feed-forward tensors are to lie; only GGUF can say another than "rows".
        check_source: raises FormatError when a file of the source is not what it was.
    """

    destination: Path
    checkpoint: Checkpoint
    config: ModelConfig
    vocabulary: Vocabulary | None
    tensors: Sequence[PlannedTensor]
    load: LoadTensor
    tokenizer_path: Path | None
    shards: int
    carried: Mapping[str, TypedValue]
    settings: Mapping[str, TypedValue]
    divisors: np.ndarray | None
    layout: LayoutName = "rows"
    check_source: Callable[[], object] | None = None

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.n_bytes for tensor in self.tensors)


@dataclass(frozen=True)
class OutputFormat:
    """One format that this package writes.

    Attributes:
        name: its name for users.
        types: plain type name -> the name of its layout in this format.
        needs_vocabulary: whether a file without one would be useless.
        tied_output: whether a tied output can be expressed by leaving it out.
        shards: whether tensors may be cut over several files.
        divisors: whether RoPE's divisors can be stored as a tensor.
        carries_keys: whether any key of GGUF can be stored as it is.
        routers_f32: whether routers of experts are f32 always, as llama.cpp's converter has them.
        check: raises FormatError for sizes that the format cannot express.
        write: carries out a WriteRequest.
    """

    name: FormatName
    types: dict[str, str]
    needs_vocabulary: bool
    tied_output: bool
    shards: bool
    divisors: bool
    carries_keys: bool
    routers_f32: bool
    check: Callable[[ModelConfig], object]
    write: Callable[[WriteRequest], None]

    def stored_type(self, type_name: str) -> str:
        """The layout in this format of a type given by its plain or versioned name."""
        family = type_name.partition("_v")[0]
        if type_name in self.types.values():
            return type_name
        if family not in self.types:
            raise FormatError(
                f"{self.name} has no type {family}, expected one of {', '.join(self.types)}; "
                f"choose one with --type"
            )
        return self.types[family]


def _ggml_format(name: ggml_write.FormatName) -> OutputFormat:
    def write(request: WriteRequest) -> None:
        _write_ggml(name, request)

    return OutputFormat(
        name,
        types={layout.partition("_v")[0]: layout for layout in ggml_write.layouts(name)},
        needs_vocabulary=True,
        tied_output=False,
        shards=name in ("ggml", "ggmf"),
        divisors=False,
        carries_keys=False,
        routers_f32=False,
        check=ggml_write.expressible,
        write=write,
    )


def _write_ggml(name: ggml_write.FormatName, request: WriteRequest) -> None:
    if request.vocabulary is None or request.vocabulary.model != "spm":
        raise FormatError(
            f"{name} holds sentencepiece vocabularies only, expected pieces with scores; convert "
            f"to gguf"
        )
    multiple_of = ggml_write.multiple_of_for(
        request.config, request.checkpoint.metadata.get("multiple_of")
    )
    first = request.destination
    paths = [first, *(first.with_name(f"{first.name}.{i}") for i in range(1, request.shards))]
    with atomic_outputs(paths, request.n_bytes, request.check_source) as files:
        ggml_write.write_ggml(
            files, name, request.config, request.vocabulary, request.tensors, request.load,
            multiple_of,
        )  # fmt: skip


def _write_gguf(request: WriteRequest) -> None:
    carried = {k: v for k, v in request.carried.items() if v.type != "json"}
    with atomic_output(request.destination, request.n_bytes, request.check_source) as file:
        gguf_write.write_gguf(
            file, request.config, request.vocabulary, request.tensors, request.load, carried,
            request.divisors, request.settings, request.layout,
        )  # fmt: skip


def _write_safetensors(request: WriteRequest) -> None:
    destination, config, tensors = request.destination, request.config, request.tensors
    extra = config_extras(request.carried, request.vocabulary)
    texts = {
        key.removeprefix("__metadata__:"): str(value.value)
        for key, value in request.carried.items()
        if key.startswith("__metadata__:")
    }
    if destination.suffix == ".safetensors":
        with atomic_output(destination, request.n_bytes, request.check_source) as file:
            write_safetensors(file, config, tensors, request.load, texts, extra)
    else:
        files = _tokenizer_files(request)
        write_huggingface(
            destination, config, tensors, request.load, files, extra, texts, request.check_source
        )


def _tokenizer_files(request: WriteRequest) -> dict[str, bytes]:
    """Name -> bytes of the files that say how the model is used, copied or made."""
    checkpoint, vocabulary, path = request.checkpoint, request.vocabulary, request.tokenizer_path
    files = {companion.name: _bytes_of(companion) for companion in checkpoint.companions}
    if path is not None and path != checkpoint.tokenizer_path:  # given by the user: it alone counts
        files = {name: data for name, data in files.items() if name not in TOKENIZERS}
    if path is not None:
        data = _bytes_of(path)
        if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
            return files | {"tokenizer.json": data}
        if is_sentencepiece(path):
            return _with_settings(files, "tokenizer.model", data, request)
        if vocabulary is None:
            return files | {"tokenizer.model": data}
    if vocabulary is None:
        return files
    made = tokenizer_file(vocabulary, gguf_spelling(vocabulary))
    return files if made is None else _with_settings(files, *made, request)


def _with_settings(
    files: dict[str, bytes], name: str, data: bytes, request: WriteRequest
) -> dict[str, bytes]:
    """The files with a tokenizer and, where there is none, a tokenizer_config.json for it."""
    files = {**files, name: data}
    vocabulary = request.vocabulary
    if vocabulary is None and request.tokenizer_path is not None:  # one that is only copied
        vocabulary = read_vocabulary(request.tokenizer_path)
    if vocabulary is None or "tokenizer_config.json" in files:
        return files
    settings = tokenizer_config(request.carried, vocabulary, gguf_spelling(vocabulary))
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    return {"tokenizer_config.json": text.encode("utf-8", "replace"), **files}


def _bytes_of(path: Path) -> bytes:
    with open_weights(path) as file:
        return file.read()


def _anything(config: ModelConfig) -> None:
    """Accept all sizes."""


_GGUF = OutputFormat(
    "gguf",
    types={name: name for name in gguf_write.FILE_TYPES},
    needs_vocabulary=True,
    tied_output=True,
    shards=False,
    divisors=True,
    carries_keys=True,
    routers_f32=True,
    check=_anything,
    write=_write_gguf,
)
_SAFETENSORS = OutputFormat(
    "safetensors",
    types={name: name for name in WRITABLE},
    needs_vocabulary=False,
    tied_output=True,
    shards=False,
    divisors=False,
    carries_keys=False,
    routers_f32=False,
    check=_anything,
    write=_write_safetensors,
)

#: Name -> the format.
OUTPUT_FORMATS: dict[str, OutputFormat] = {
    **{name: _ggml_format(name) for name in ggml_write.FORMATS},
    "gguf": _GGUF,
    "safetensors": _SAFETENSORS,
}


def output_format(name: str) -> OutputFormat:
    """The format of this name; RequestError, listing all names, for any other."""
    if name not in OUTPUT_FORMATS:
        raise RequestError(f"cannot write {name!r}, expected one of {', '.join(OUTPUT_FORMATS)}")
    return OUTPUT_FORMATS[name]
