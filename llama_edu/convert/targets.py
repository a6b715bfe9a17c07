"""The formats that we write: what each can express, under which type names, and its writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from llama_edu.config import ModelConfig
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.ggml import writer as ggml_write
from llama_edu.files.gguf import writer as gguf_write
from llama_edu.files.huggingface import safetensors
from llama_edu.files.huggingface.folder import write_huggingface
from llama_edu.files.layout import Checkpoint, LoadTensor, PlannedTensor
from llama_edu.files.output import atomic_output
from llama_edu.vocabulary import Vocabulary


@dataclass(frozen=True)
class Job:
    """Everything that a writer needs.

    Attributes:
        destination: the file, the first of several parts, or the folder to write.
        tensors: what to write, in this order. load: gives the data of one of them.
        tokenizer_path: a tokenizer file that may be copied into a folder.
    """

    destination: Path
    checkpoint: Checkpoint
    config: ModelConfig
    vocabulary: Vocabulary | None
    tensors: Sequence[PlannedTensor]
    load: LoadTensor
    tokenizer_path: Path | None
    parts: int

    @property
    def n_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.n_bytes for tensor in self.tensors)


@dataclass(frozen=True)
class Target:
    """One format that we write.

    Attributes:
        types: plain type name -> the name of its layout in this format.
        needs_vocabulary: whether a file without one would be useless.
        tied_output: whether a tied output can be expressed by leaving it out.
        check: raises FormatError for sizes that the format cannot express.
        write: does the job.
    """

    types: dict[str, str]
    needs_vocabulary: bool
    tied_output: bool
    check: Callable[[ModelConfig], object]
    write: Callable[[Job], None]

    def stored_type(self, type_name: str, to: str) -> str:
        """The layout that a type, asked for by its plain or versioned name, has here."""
        family = type_name.partition("_v")[0]
        if type_name in self.types.values():
            return type_name
        if family not in self.types:
            raise FormatError(
                f"{to} has no type {family}, expected one of {', '.join(self.types)}; choose one "
                f"with --type"
            )
        return self.types[family]


def _write_ggml(to: str) -> Callable[[Job], None]:
    def write(job: Job) -> None:
        if job.vocabulary is None or job.vocabulary.model != "spm":
            raise FormatError(
                f"{to} holds sentencepiece vocabularies only, expected pieces with scores; "
                f"convert to gguf"
            )
        multiple_of = ggml_write.multiple_of_for(
            job.config, job.checkpoint.metadata.get("multiple_of")
        )
        paths = [job.destination, *(
            job.destination.with_name(f"{job.destination.name}.{i}") for i in range(1, job.parts)
        )]  # fmt: skip
        with ExitStack() as stack:
            # entered last, moved into place first: the first part appears when all others are there
            files = [
                stack.enter_context(atomic_output(path, job.n_bytes // job.parts)) for path in paths
            ]
            ggml_write.write_ggml(
                files, to, job.config, job.vocabulary, job.tensors, job.load, multiple_of
            )

    return write


def _write_gguf(job: Job) -> None:
    name = job.checkpoint.metadata.get("general.name")
    with atomic_output(job.destination, job.n_bytes) as file:
        gguf_write.write_gguf(
            file, job.config, job.vocabulary, job.tensors, job.load,
            {"general.name": name} if isinstance(name, str) else None,
        )  # fmt: skip


def _write_safetensors(job: Job) -> None:
    if job.destination.suffix == ".safetensors":
        with atomic_output(job.destination, job.n_bytes) as file:
            safetensors.write_safetensors(file, job.config, job.tensors, job.load)
    else:
        write_huggingface(job.destination, job.config, job.tensors, job.load, job.tokenizer_path)


def _anything(config: ModelConfig) -> None:
    """No size is beyond this format."""


def _ggml_target(to: str) -> Target:
    types = {name.partition("_v")[0]: name for name in ggml_write.layouts(to)}
    return Target(types, True, False, ggml_write.expressible, _write_ggml(to))


_GGUF_TYPES = {name: name for name in gguf_write.FILE_TYPES}
_SAFETENSORS_TYPES = {name: name for name in ("f32", "f16", "bf16", "f64")}

#: Name on the command line -> the format.
TARGETS: dict[str, Target] = {
    **{to: _ggml_target(to) for to in ggml_write.TARGETS},
    "gguf": Target(_GGUF_TYPES, True, True, _anything, _write_gguf),
    "safetensors": Target(_SAFETENSORS_TYPES, False, True, _anything, _write_safetensors),
}


def target_named(to: str) -> Target:
    """The format of this name; RequestError, listing all names, for any other."""
    if to not in TARGETS:
        raise RequestError(f"cannot write {to!r}, expected one of {', '.join(TARGETS)}")
    return TARGETS[to]
