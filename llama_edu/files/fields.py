"""Field: one named run of bytes in a file, for the annotated hex view."""

from __future__ import annotations

from dataclasses import dataclass

from llama_edu.text import one_line, quoted

#: Characters of a value that a field shows; a chat template can be thousands long.
SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Field:
    """What the bytes from `offset` to `offset + n_bytes` of a file mean.

    Attributes:
        name: the name in the format's documentation, for example "n_tensors".
        value: what the bytes contain, as text; control characters appear as Python's escapes.
    """

    offset: int
    n_bytes: int
    name: str
    value: str

    @property
    def end(self) -> int:
        """First byte after the field."""
        return self.offset + self.n_bytes


def shown(value: object) -> str:
    """A value as one short line: strings and bytes are quoted and escaped, long ones shortened."""
    if isinstance(value, str | bytes):
        return quoted(value, SHOWN_CHARACTERS)
    return one_line(str(value), SHOWN_CHARACTERS)
