"""The formats that we write: what each can express, under which type names, and its writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.ggml import writer as ggml_write
from llama_edu.files.gguf import writer as gguf_write
from llama_edu.files.huggingface.folder import write_huggingface
from llama_edu.files.huggingface.safetensors_writer import WRITABLE, write_safetensors
from llama_edu.files.layout import Checkpoint, LoadTensor, PlannedTensor
from llama_edu.files.output import atomic_output, atomic_outputs
from llama_edu.vocabulary import Vocabulary

#: What a format to write is called in Python and on the command line.
FormatName = Literal[ggml_write.FormatName, "gguf", "safetensors"]


@dataclass(frozen=True)
class WriteRequest:
    """Everything that a writer needs.

    Attributes:
        destination: the file, the first of several shards, or the folder to write.
        checkpoint: what the tensors are made from. config: its sizes, RoPE's pairs side by side.
        tensors: what to write, in this order. load: gives the data of one of them.
        tokenizer_path: a tokenizer file that may be copied into a folder.
        shards: into how many files the tensors are cut.
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
    check_source: Callable[[], object] | None = None

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.n_bytes for tensor in self.tensors)


@dataclass(frozen=True)
class OutputFormat:
    """One format that we write.

    Attributes:
        name: what users call it.
        types: plain type name -> the name of its layout in this format.
        needs_vocabulary: whether a file without one would be useless.
        tied_output: whether a tied output can be expressed by leaving it out.
        shards: whether tensors may be cut over several files.
        check: raises FormatError for sizes that the format cannot express.
        write: does what a WriteRequest says.
    """

    name: FormatName
    types: dict[str, str]
    needs_vocabulary: bool
    tied_output: bool
    shards: bool
    check: Callable[[ModelConfig], object]
    write: Callable[[WriteRequest], None]

    def stored_type(self, type_name: str) -> str:
        """The layout that a type, asked for by its plain or versioned name, has here."""
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
    name = request.checkpoint.metadata.get("general.name")
    with atomic_output(request.destination, request.n_bytes, request.check_source) as file:
        gguf_write.write_gguf(
            file, request.config, request.vocabulary, request.tensors, request.load,
            {"general.name": name} if isinstance(name, str) else None,
        )  # fmt: skip


def _write_safetensors(request: WriteRequest) -> None:
    destination, config, tensors = request.destination, request.config, request.tensors
    if destination.suffix == ".safetensors":
        with atomic_output(destination, request.n_bytes, request.check_source) as file:
            write_safetensors(file, config, tensors, request.load)
    else:
        write_huggingface(
            destination, config, tensors, request.load, request.tokenizer_path,
            check=request.check_source,
        )  # fmt: skip


def _anything(config: ModelConfig) -> None:
    """No size is beyond this format."""


_GGUF = OutputFormat(
    "gguf",
    types={name: name for name in gguf_write.FILE_TYPES},
    needs_vocabulary=True,
    tied_output=True,
    shards=False,
    check=_anything,
    write=_write_gguf,
)
_SAFETENSORS = OutputFormat(
    "safetensors",
    types={name: name for name in WRITABLE},
    needs_vocabulary=False,
    tied_output=True,
    shards=False,
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
