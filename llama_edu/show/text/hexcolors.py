"""A hex view in color: every field of a file has its own, and a legend says what it means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llama_edu.errors import RequestError
from llama_edu.files.anatomy import fields_in
from llama_edu.files.fields import Field
from llama_edu.files.mapped import MappedFile
from llama_edu.html import escaped
from llama_edu.models import locate
from llama_edu.show.text.hexview import hex_view
from llama_edu.text import one_line

_BYTES_PER_ROW = 16

#: More would be a wall of colors; `hex_view` shows any number.
_MOST_BYTES = 1024

#: Characters of a legend's line.
_LONGEST_MEANING = 76

#: Okabe's and Ito's colors as red, green, blue. Neighbors differ in lightness too; text keeps the
#: page's own color, on a ground that is a third of this color and two thirds of the page.
_COLORS = (
    (0, 114, 178), (230, 159, 0), (204, 121, 167), (0, 158, 115),
    (213, 94, 0), (86, 180, 233), (145, 138, 0), (121, 121, 121),
)  # fmt: skip


@dataclass(frozen=True)
class HexColors:
    """Some bytes of a file and the fields that they belong to; made by `hex_colors`.

    Attributes:
        text: the same without colors, by `hex_view`; what a terminal prints.
        data: the bytes from `start` on. fields: in file order, of which the first may begin before
            `start`, and the last end behind the bytes.
    """

    text: str
    data: bytes
    start: int
    fields: Sequence[Field]

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        """Two columns of text in one font of equal widths, so that they read without colors too."""
        rows = [self._row(first) for first in range(self._first_row, self._stop, _BYTES_PER_ROW)]
        legend = [
            f'<span style="color: rgb{_COLORS[number % len(_COLORS)]}">&#9632;</span> '
            f"{field.offset:8x}  {escaped(_meaning(field))}"
            for number, field in enumerate(self.fields)
        ]
        style = "white-space: pre; overflow-x: auto; margin: 0; line-height: 1.5"
        return f'<pre style="{style}">{_LF.join(rows)}{_LF}{_LF}{_LF.join(legend)}</pre>'

    @property
    def _stop(self) -> int:
        return self.start + len(self.data)

    @property
    def _first_row(self) -> int:
        return self.start // _BYTES_PER_ROW * _BYTES_PER_ROW

    def _row(self, first: int) -> str:
        """An offset, 16 bytes, and the same bytes as text; each run of one field in its color."""
        places = range(max(first, self.start), min(first + _BYTES_PER_ROW, self._stop))
        before, after = places.start - first, first + _BYTES_PER_ROW - places.stop
        hexadecimal, text = [], []
        for number, run in _runs(places, self.fields):
            part = self.data[run.start - self.start : run.stop - self.start]
            label = "" if number is None else _meaning(self.fields[number])
            hexadecimal.append(_colored(part.hex(" "), number, label))
            shown = "".join(chr(b) if 32 <= b < 127 else "." for b in part)
            text.append(_colored(shown, number, label))
        middle = "   " * before + " ".join(hexadecimal) + "   " * after
        return f"{first:8x}  {middle}  {' ' * before}{''.join(text)}".rstrip()


_LF = "\n"


def hex_colors(path: str | Path, n_bytes: int, start: int = 0) -> HexColors:
    """Bytes of a weight file from `start` on, for a notebook: one color for each field.

    Where there is no notebook, its text is that of `hex_view`.

    Raises:
        RequestError: a number is out of range, or the path is a folder.
        FormatError: the file cannot be opened, or its format is unknown.
    """
    if n_bytes > _MOST_BYTES:
        raise RequestError(
            f"hex_colors: {n_bytes:,} bytes, expected at most {_MOST_BYTES:,}; hex_view shows more"
        )
    text = hex_view(path, n_bytes, start)
    with MappedFile(locate(path), is_mapped=False) as mapped:
        data = bytes(mapped.data[start : start + n_bytes])
        stop = start + len(data)
        fields = []
        for field in fields_in(mapped):
            if field.offset >= stop:
                break
            if field.end > start and field.n_bytes:
                fields.append(field)
    return HexColors(text, data, start, fields)


def _runs(places: range, fields: Sequence[Field]) -> Iterable[tuple[int | None, range]]:
    """The numbers of the fields of a row, each with its places; None for bytes of no field."""
    at = places.start
    for number, field in enumerate(fields):
        if field.end <= at or field.offset >= places.stop:
            continue
        if field.offset > at:
            yield None, range(at, field.offset)
        begin, end = max(at, field.offset), min(field.end, places.stop)
        yield number, range(begin, end)
        at = end
    if at < places.stop:
        yield None, range(at, places.stop)


def _colored(text: str, number: int | None, label: str) -> str:
    if number is None:
        return escaped(text)
    red, green, blue = _COLORS[number % len(_COLORS)]
    style = (
        f"background: rgba({red}, {green}, {blue}, 0.34); "
        f"border-bottom: 2px solid rgb({red}, {green}, {blue})"
    )
    return f'<span title="{escaped(label)}" style="{style}">{escaped(text)}</span>'


def _meaning(field: Field) -> str:
    return one_line(field.name + (f" = {field.value}" if field.value else ""), _LONGEST_MEANING)
