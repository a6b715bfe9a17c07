"""What the bytes of a file mean, for any format: the source of the hex view."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files.detect import format_of, not_a_model
from llama_edu.files.fields import Field
from llama_edu.files.mapped import MappedFile


def fields_of(path: Path) -> Iterator[Field]:
    """The fields of one file in order, without gaps if its reader knows every byte.

    The file is opened once, and closed when the iterator is deleted.

    Raises:
        FormatError: the path is a folder, or the file's format is unknown; while iterating, if the
            file is damaged.
    """
    return fields_in(MappedFile(path, is_mapped=False))


def fields_in(mapped: MappedFile) -> Iterator[Field]:
    """`fields_of` for a file that is already open."""
    known = format_of(mapped)
    if known is None:
        raise FormatError(not_a_model(mapped))
    _, fields = known.functions()
    return fields(mapped)
