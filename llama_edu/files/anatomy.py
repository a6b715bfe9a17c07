"""What every byte at the start of a file means, for any format: the source of the hex view."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files import llama2c
from llama_edu.files.cursor import Cursor
from llama_edu.files.fields import Field
from llama_edu.files.ggml.header import MAGICS
from llama_edu.files.ggml.reader import ggml_fields
from llama_edu.files.gguf.reader import gguf_fields
from llama_edu.files.huggingface import safetensors
from llama_edu.files.mapped import open_weights

#: The local header of a zip record, after its signature: name, kind of number.
_ZIP_HEADER = (
    ("version needed", "u16"), ("flags", "u16"), ("compression", "u16"), ("time", "u16"),
    ("date", "u16"), ("crc-32", "u32"), ("compressed size", "u32"), ("size", "u32"),
    ("name length", "u16"), ("extra length", "u16"),
)  # fmt: skip


def fields_of(path: Path) -> Iterator[Field]:
    """The fields of one file in order, without gaps where its reader knows every byte.

    Raises:
        FormatError: the file is a folder, or of no format that this package knows.
    """
    with open_weights(path) as file:
        head = file.read(64)
    if head[:4] in MAGICS:
        return ggml_fields(path)
    if head.startswith(b"GGUF"):
        return gguf_fields(path)
    if head.startswith(b"PK\x03\x04"):
        return _zip_fields(path)
    if head[8:9] == b"{":
        return safetensors.safetensors_fields(path)
    if head.startswith(llama2c.MAGIC_V1) or llama2c.looks_like_llama2c(head, path.stat().st_size):
        return llama2c.llama2c_fields(path)
    raise FormatError(f"{path}: starts with {head[:8]!r}, which no known format begins with")


def _zip_fields(path: Path) -> Iterator[Field]:
    """The first record of a .pth file: its zip header, then the pickle that names the tensors."""
    with open_weights(path) as file:
        head = file.read(30 + 2 * 65535)
    cursor = Cursor(head, path, trace=True)
    cursor.take(4, "signature")
    sizes = [cursor.integer(kind, name) for name, kind in _ZIP_HEADER]
    name_bytes, extra_bytes = sizes[-2:]
    cursor.take(name_bytes, "name")
    cursor.take(extra_bytes, "extra: padding to 64")
    yield from cursor.fields or ()
    n_left = path.stat().st_size - cursor.offset
    if n_left:
        yield Field(cursor.offset, n_left, "pickle, tensor records, zip directory", "")
