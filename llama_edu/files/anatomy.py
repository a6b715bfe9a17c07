"""What every byte at the start of a file means, for any format: the source of the hex view."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files import ggml, gguf, llama2c, safetensors
from llama_edu.files.fields import Field, shown
from llama_edu.files.mapped import open_weights

#: The local header of a zip record: name, struct letter.
_ZIP_HEADER = (
    ("signature", "4s"), ("version needed", "H"), ("flags", "H"), ("compression", "H"),
    ("time", "H"), ("date", "H"), ("crc-32", "I"), ("compressed size", "I"), ("size", "I"),
    ("name length", "H"), ("extra length", "H"),
)  # fmt: skip


def fields_of(path: Path) -> Iterator[Field]:
    """The fields of one file in order, without gaps where its reader knows every byte.

    Raises:
        FormatError: the file is a folder, or of no format that this package knows.
    """
    with open_weights(path) as file:
        head = file.read(64)
    if head[:4] in ggml.MAGICS:
        return ggml.ggml_fields(path)
    if head.startswith(b"GGUF"):
        return gguf.gguf_fields(path)
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
    offset = 0
    values: dict[str, object] = {}
    for name, letter in _ZIP_HEADER:
        size = struct.calcsize("<" + letter)
        (values[name],) = struct.unpack_from("<" + letter, head, offset)
        yield Field(offset, size, name, shown(values[name]))
        offset += size
    for name, key in (("name", "name length"), ("extra: padding to 64", "extra length")):
        size = int(str(values[key]))
        if size:
            yield Field(offset, size, name, shown(head[offset : offset + size]))
        offset += size
    yield Field(offset, path.stat().st_size - offset, "pickle, tensor records, zip directory", "")
