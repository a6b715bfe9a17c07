"""Which format a file has, recognized by its content, never by its name.

A file is opened once: its first bytes select a row of FORMATS, and the reader of that format gets
the open mapping. Each reader is imported when it is needed, so opening one format does not import
all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files import magic_numbers
from llama_edu.files.fields import Field
from llama_edu.files.layout import Checkpoint
from llama_edu.files.mapped import MappedFile, OpenFiles
from llama_edu.files.not_models import is_known, what_it_is
from llama_edu.models import locate
from llama_edu.text import one_line
from llama_edu.vocabulary import Vocabulary

#: Bytes by which a file is recognized.
_HEAD_BYTES = 64


def open_checkpoint(
    path: str | os.PathLike[str], *, mmap: bool = True
) -> tuple[Checkpoint, tuple[MappedFile, ...]]:
    """Recognize a weight file or a folder, read its headers, and leave its files open.

    No weight is read. Each file of weights is opened once.

    Args:
        path: a weight file, a folder, or a name that `models.locate` knows.
        mmap: False leaves the files open for reading and maps nothing.
    Returns:
        The checkpoint, and its open files in the order of `Checkpoint.paths`; the caller closes
        them.
    Raises:
        FormatError: no such file, or one that this package cannot read; says what the file is if
            that is known.
    """
    path = locate(path)
    files = OpenFiles(is_mapped=mmap)
    try:
        checkpoint = _read(path, files)
        return checkpoint, files.in_order(checkpoint.paths)
    except BaseException:
        files.close()
        raise


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint that `open_checkpoint` finds, all files closed again. Nothing is mapped."""
    checkpoint, files = open_checkpoint(path, mmap=False)
    for file in files:
        file.close()
    return checkpoint


def vocabulary_alone(path: str | os.PathLike[str]) -> Vocabulary | None:
    """The vocabulary of a GGUF file without tensors; None for any other file or folder.

    Raises FormatError where such a file is damaged.
    """
    path = locate(path)
    if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises where a name is too long
        return None
    with MappedFile(path, is_mapped=False) as file:
        if not file.data[:4].startswith(magic_numbers.GGUF):
            return None
        from llama_edu.files.gguf.header import read_header
        from llama_edu.files.gguf.vocabulary import read_gguf_vocabulary

        header = read_header(file.data, path)
        return None if header.infos else read_gguf_vocabulary(header)


def format_of(mapped: MappedFile) -> Format | None:
    """The format of an open file, recognized by its first bytes and its size; None if unknown."""
    head = mapped.data[:_HEAD_BYTES]
    return next((known for known in FORMATS if known.recognize(head, mapped.n_bytes)), None)


def not_a_model(mapped: MappedFile) -> str:
    """A sentence about an open file of no known format: what it is, and what to do."""
    return f"{mapped.path}: {what_it_is(mapped.data[:_HEAD_BYTES])}{_part_of_a_file(mapped.path)}"


def _read(path: Path, files: OpenFiles) -> Checkpoint:
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises where a name is too long
        return _read_folder(path, files)
    mapped = files.open(path)
    found = format_of(mapped)
    if found is not None:
        read, _ = found.functions()
        try:
            return read(path, files)
        except FormatError as error:
            hint = _mistral_layout(path, found) or _part_of_a_file(path)
            if not hint:
                raise
            raise FormatError(f"{error}{hint}") from None
    almost = _almost_llama2c(path, files, mapped.data[:_HEAD_BYTES])
    raise FormatError(f"{path}: {almost}{_part_of_a_file(path)}" if almost else not_a_model(mapped))


def _almost_llama2c(path: Path, files: OpenFiles, head: bytes) -> str | None:
    """What is wrong with a file that begins like a llama2.c file of version 0, which has no magic.

    None where the first bytes are those of something else, or no plausible width.
    """
    if is_known(head) or len(head) < 28 or not 0 < int.from_bytes(head[:4], "little") < 2**20:
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


def _mistral_layout(path: Path, found: Format) -> str:
    """What to do with a safetensors file next to which Meta's params.json states the sizes."""
    if found.functions is not _safetensors or not (path.parent / "params.json").is_file():
        return ""
    return f"; it is next to params.json, as in Mistral's layout: give the folder, {path.parent}"


#: Names that split, curl and uploaders give to the parts of one file.
_PART_NAME = re.compile(r"(.+?)[-._](split-?|part-?)[a-z0-9]{1,4}(of\d+)?|(.+)\.\d{3}", re.DOTALL)


def _part_of_a_file(path: Path) -> str:
    """What to do with a file whose name says that it is one part of a larger file."""
    found = _PART_NAME.fullmatch(path.name)
    if found is None:
        return ""
    whole = one_line(found[1] or found[4])
    return (
        f"; its name says that it is one part of a file that was cut: join all parts in order, "
        f"with cat, into {whole}"
    )


def _read_folder(path: Path, files: OpenFiles) -> Checkpoint:
    if any(path.glob(magic_numbers.META_SHARDS)):
        from llama_edu.files.torch.meta_folder import read_meta_folder

        return read_meta_folder(path, files)
    from llama_edu.files.huggingface.folder import is_huggingface_folder, read_huggingface

    if is_huggingface_folder(path):
        return read_huggingface(path, files)
    from llama_edu.files.huggingface.mistral_folder import is_mistral_folder, read_mistral_folder

    if is_mistral_folder(path):
        return read_mistral_folder(path, files)
    _refuse_adapter(path)
    from llama_edu.files.folder_contents import weight_files, which_of

    found = weight_files(path)
    if len(found) == 1:
        return _read(found[0].first, files)
    raise FormatError(f"{path}: {which_of(found) if found else _NO_MODEL}")


def _refuse_adapter(path: Path) -> None:
    if (path / "adapter_config.json").is_file():
        raise FormatError(
            f"{path}: is the folder of a LoRA adapter, which changes a base model and is none "
            f"itself; merge the two with peft, and give the merged folder"
        )


#: The rest of a sentence about a folder in which there is no model.
_NO_MODEL = (
    "this folder has neither consolidated.00.pth (Meta's layout) nor config.json with weights "
    "(Hugging Face's) nor a .gguf file; give a folder with weights, or one weight file"
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
