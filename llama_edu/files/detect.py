"""Which format a file has, recognized by its content, never by its name.

A file is opened once: its first bytes select a row of FORMATS, and the reader of that format gets
the open mapping. Each reader is imported when it is needed, so opening one format does not import
all of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files import magic_numbers
from llama_edu.files.fields import Field
from llama_edu.files.layout import Checkpoint
from llama_edu.files.mapped import MappedFile, OpenFiles, open_weights

#: Bytes by which a file is recognized.
_HEAD_BYTES = 64

#: First bytes of files that are often mistaken for models, what they are, what to do.
_NOT_MODELS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file", "run: git lfs pull"),
    (b"\x89PNG", "a PNG picture", "check the path"),
    (b"\xff\xd8\xff", "a JPEG picture", "check the path"),
    (b"%PDF", "a PDF document", "check the path"),
    (b"\x1f\x8b", "compressed with gzip", "run: gunzip"),
    (b"\xfd7zXZ", "compressed with xz", "run: unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "run: unzstd"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (b"\x93NUMPY", "one numpy array", "expected a model with all its tensors"),
    (b"\x89HDF", "an HDF5 file", "expected a LLaMA checkpoint"),
    (b"\x0a", "a sentencepiece tokenizer", "give it with --tokenizer, and a weight file here"),
)


def open_checkpoint(path: str | os.PathLike[str]) -> tuple[Checkpoint, tuple[MappedFile, ...]]:
    """Recognize a weight file or a folder, read its headers, and leave its files open.

    No weight is read. Each file of weights is opened once.

    Returns:
        The checkpoint, and its open files in the order of `Checkpoint.paths`; the caller closes
        them.
    Raises:
        FormatError: no such file, or one that this package cannot read; says what the file is if
            that is known.
    """
    path = Path(path)
    files = OpenFiles()
    try:
        checkpoint = _read(path, files)
        return checkpoint, files.in_order(checkpoint.paths)
    except BaseException:
        files.close()
        raise


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint that `open_checkpoint` finds, with all files closed again."""
    checkpoint, files = open_checkpoint(path)
    for file in files:
        file.close()
    return checkpoint


def format_of(mapped: MappedFile) -> Format | None:
    """The format of an open file, recognized by its first bytes and its size; None if unknown."""
    head = mapped.mmap[:_HEAD_BYTES]
    return next((known for known in FORMATS if known.recognize(head, mapped.n_bytes)), None)


def _read(path: Path, files: OpenFiles) -> Checkpoint:
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        return _read_folder(path, files)
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113
        _refuse_device(path)
    mapped = files.open(path)
    found = format_of(mapped)
    if found is not None:
        read, _ = found.functions()
        return read(path, files)
    head = mapped.mmap[:_HEAD_BYTES]
    raise FormatError(f"{path}: {_almost_llama2c(path, files, head) or _what_it_is(head)}")


def _read_folder(path: Path, files: OpenFiles) -> Checkpoint:
    if any(path.glob(magic_numbers.META_SHARDS)):
        from llama_edu.files.torch.meta_folder import read_meta_folder

        return read_meta_folder(path, files)
    from llama_edu.files.huggingface.folder import is_huggingface_folder, read_huggingface

    if is_huggingface_folder(path):
        return read_huggingface(path, files)
    raise FormatError(
        f"{path}: this folder has neither consolidated.00.pth (Meta's layout) nor config.json with "
        f"weights (Hugging Face's); give a folder with weights, or one weight file"
    )


# --- formats of a single file -------------------------------------------------------------------

#: Returns the checkpoint in a file; further files are opened through the second argument.
Reader = Callable[[Path, OpenFiles], Checkpoint]

#: Yields every field of one open file in order, for the hex view.
FieldsOf = Callable[[MappedFile], Iterator[Field]]


@dataclass(frozen=True)
class Format:
    """One file format.

    Attributes:
        recognize: whether a file with these first bytes and of this size has this format.
        functions: imports the format's modules and returns its reader and its fields.
    """

    recognize: Callable[[bytes, int], bool]
    functions: Callable[[], tuple[Reader, FieldsOf]]


def _starts_with(*magics: bytes) -> Callable[[bytes, int], bool]:
    return lambda head, file_bytes: head.startswith(magics)


def _is_safetensors(head: bytes, file_bytes: int) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < file_bytes


def _is_llama2c(head: bytes, file_bytes: int) -> bool:
    from llama_edu.files.llama2c.header import looks_like_llama2c

    return head.startswith(magic_numbers.LLAMA2C) or looks_like_llama2c(head, file_bytes)


def _gguf() -> tuple[Reader, FieldsOf]:
    from llama_edu.files.gguf.fields import gguf_fields
    from llama_edu.files.gguf.reader import read_gguf

    return read_gguf, gguf_fields


def _ggml() -> tuple[Reader, FieldsOf]:
    from llama_edu.files.ggml.reader import ggml_fields, read_ggml

    return read_ggml, ggml_fields


def _safetensors() -> tuple[Reader, FieldsOf]:
    from llama_edu.files.huggingface.safetensors import read_safetensors, safetensors_fields

    return read_safetensors, safetensors_fields


def _torch() -> tuple[Reader, FieldsOf]:
    from llama_edu.files.torch.fields import pth_fields
    from llama_edu.files.torch.training import read_training_checkpoint

    return read_training_checkpoint, pth_fields


def _llama2c() -> tuple[Reader, FieldsOf]:
    from llama_edu.files.llama2c.reader import llama2c_fields, read_llama2c

    return read_llama2c, llama2c_fields


#: Tried in this order; llama2.c comes last, because its version 0 has no magic.
FORMATS = (
    Format(_starts_with(magic_numbers.GGUF), _gguf),
    Format(_starts_with(magic_numbers.GGML, magic_numbers.GGMF, magic_numbers.GGJT), _ggml),
    Format(_is_safetensors, _safetensors),
    Format(_starts_with(magic_numbers.ZIP, magic_numbers.TORCH_LEGACY), _torch),
    Format(_is_llama2c, _llama2c),
)


# --- what else a file may be --------------------------------------------------------------------


def _refuse_device(path: Path) -> None:
    """Refuse a device or a pipe, which cannot be mapped; the error describes its first bytes."""
    with open_weights(path) as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        raise FormatError(f"{path}: is empty, expected a weight file; download it again")
    raise FormatError(f"{path}: {_what_it_is(head)}")


def _almost_llama2c(path: Path, files: OpenFiles, head: bytes) -> str | None:
    """What is wrong with a file that begins like a llama2.c file of version 0, which has no magic.

    None if the first bytes belong to something else, or are not a plausible dim.
    """
    if _known_as(head) or len(head) < 28 or not 0 < int.from_bytes(head[:4], "little") < 2**20:
        return None
    read, _ = _llama2c()
    try:
        read(path, files)
    except FormatError as error:
        return (
            f"starts with {head[:8]!r}, which no format begins with; read as a llama2.c file, "
            f"{str(error).partition(': ')[2]}"
        )
    return None


def _what_it_is(head: bytes) -> str:
    """The rest of a sentence about a file that cannot be read."""
    what = _known_as(head)
    if what is not None:
        return f"starts with {head[:24]!r}, expected a weight file; this is {what}"
    return (
        f"starts with {head[:8]!r}, expected ggml, ggmf, ggjt, GGUF, safetensors, a llama2.c file, "
        f"or a folder in Meta's layout; check what was downloaded"
    )


def _known_as(head: bytes) -> str | None:
    """What a known file that is not a model is, by its first bytes, and what to do."""
    text = head.lstrip()
    if text.lower().startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "an HTML page, perhaps a download that needed a login; download the file itself"
    if text.startswith((b"{", b"[")):
        return "JSON text"
    for magic, what, action in _NOT_MODELS:
        if head.startswith(magic):
            return f"{what}; {action}"
    return None
