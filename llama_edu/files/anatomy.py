"""What every byte at the start of a file means, for any format: the source of the hex view."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from llama_edu.errors import FormatError
from llama_edu.files.detect import format_of, not_a_model
from llama_edu.files.fields import Field
from llama_edu.files.mapped import MappedFile


def fields_of(path: Path) -> Iterator[Field]:
    """The fields of one file in order, without gaps where its reader knows every byte.

    The file is opened once, and closed when the iterator is gone.

    Raises:
        FormatError: the file is a folder, or of no format that this package knows; while
            iterating, where it is damaged.
    """
    return fields_in(MappedFile(path, is_mapped=False))


def fields_in(mapped: MappedFile) -> Iterator[Field]:
    """`fields_of` for a file that is open already."""
    known = format_of(mapped)
    if known is None:
        raise FormatError(not_a_model(mapped))
    _, fields = known.functions()
    return fields(mapped)
