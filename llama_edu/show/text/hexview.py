"""An annotated hex view: the bytes of a file, and what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from llama_edu.errors import RequestError
from llama_edu.files.anatomy import fields_in
from llama_edu.files.fields import Field
from llama_edu.files.mapped import MappedFile
from llama_edu.models import locate
from llama_edu.text import visible

_BYTES_PER_ROW = 8

#: At most this many rows of one field; all of a tensor's data would fill the screen.
_MOST_ROWS_PER_FIELD = 4


def hex_view(path: str | Path, n_bytes: int, start: int = 0) -> str:
    """Bytes of a weight file from `start` on, with every field named, as text.

    Raises:
        RequestError: a number is out of range, or the path is a folder.
        FormatError: the file cannot be opened, or its format is unknown.
    """
    if n_bytes < 1:
        raise RequestError(f"--hex is {n_bytes}, expected 1 or more bytes")
    if start < 0:
        raise RequestError(f"the hex view starts at byte {start}, expected 0 or more")
    with MappedFile(locate(path), is_mapped=False) as mapped:
        data = mapped.data[start : start + n_bytes]
        return "\n".join(_rows(fields_in(mapped), data, start))


def _rows(fields: Iterable[Field], data: bytes, first: int) -> Iterable[str]:
    stop = first + len(data)
    for field in fields:
        if field.offset >= stop:
            break
        rows = range(max(field.offset, first), min(field.end, stop), _BYTES_PER_ROW)
        for count, start in enumerate(rows):
            if count == _MOST_ROWS_PER_FIELD and len(rows) > _MOST_ROWS_PER_FIELD + 1:
                left = min(field.end, stop) - start
                yield f"{'':10s}... {left:,} more bytes"
                break
            row = data[start - first : min(start + _BYTES_PER_ROW, field.end) - first]
            text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
            label = ""
            if count == 0:
                label = visible(field.name + (f" = {field.value}" if field.value else ""))
            yield f"{start:8x}  {row.hex(' '):<24s} {text:<8s}  {label}".rstrip()
