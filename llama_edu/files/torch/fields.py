"""The named fields of a .pth file, for the hex view: the header of its first zip record."""

from __future__ import annotations

from collections.abc import Iterator

from llama_edu.errors import FormatError
from llama_edu.files.cursor import Cursor, NumberKind
from llama_edu.files.fields import Field
from llama_edu.files.magic_numbers import ZIP
from llama_edu.files.mapped import MappedFile

#: The local header of a zip record, after its signature: name, kind of number.
_ZIP_HEADER: tuple[tuple[str, NumberKind], ...] = (
    ("version needed", "u16"), ("flags", "u16"), ("compression", "u16"), ("time", "u16"),
    ("date", "u16"), ("crc-32", "u32"), ("compressed size", "u32"), ("size", "u32"),
    ("name length", "u16"), ("extra length", "u16"),
)  # fmt: skip


def pth_fields(mapped: MappedFile) -> Iterator[Field]:
    """The fields of the first record's zip header, then all that follows as one field.

    Raises:
        FormatError: the header is truncated, or the file is not a zip (torch before 1.6).
    """
    head = mapped.data[: 30 + 2 * 65535]
    if not head.startswith(ZIP):
        raise FormatError(
            f"{mapped.path}: was written by torch before 1.6, expected a zip for the hex view; "
            f"save it again with a newer torch"
        )
    cursor = Cursor(head, mapped.path, trace=True)
    cursor.take(4, "signature")
    sizes = [cursor.integer(kind, name) for name, kind in _ZIP_HEADER]
    name_bytes, extra_bytes = sizes[-2:]
    cursor.take(name_bytes, "name")
    cursor.take(extra_bytes, "extra: padding to 64")
    yield from cursor.fields or ()
    n_left = mapped.n_bytes - cursor.offset
    if n_left:
        yield Field(cursor.offset, n_left, "pickle, tensor records, zip directory", "")
