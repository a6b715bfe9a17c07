"""Tables: as plain text in columns, and as rows of plain values.

Pandas and polars take the rows as they are: `pandas.DataFrame(result.to_rows())`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, ClassVar

import numpy as np

from llama_edu.text import visible


def lay_out(
    heads: Sequence[str] | None,
    rows: Sequence[Sequence[object]],
    align: str = "<>",
    indent: str = "",
) -> str:
    """A table as text, each column as wide as its longest cell, two spaces between columns.

    Args:
        heads: the first line; None for a table without one.
        rows: one cell for each head. None (not measured) becomes "-"; integers get thousands
            separators; text goes through `text.visible`.
        align: "<" aligns a column left, ">" right; the last character applies to all columns after
            it.
        indent: text in front of each line.
    """
    cells = [[_cell(value) for value in row] for row in ([heads] if heads else []) + [*rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    align = align.ljust(len(widths), align[-1])
    lines = []
    for row in cells:
        columns = zip(row, align, widths, strict=False)
        lines.append(indent + "  ".join(f"{cell:{side}{width}}" for cell, side, width in columns))
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else visible(str(value))


def mib(n_bytes: int | None) -> str | None:
    """Bytes as MiB, with one decimal."""
    return None if n_bytes is None else f"{n_bytes / 2**20:,.1f}"


def milliseconds(seconds: float | None) -> str | None:
    """Seconds as milliseconds, with one decimal."""
    return None if seconds is None else f"{seconds * 1e3:,.1f}"


def percent(fraction: float | None) -> str | None:
    """A fraction as a percentage, with one decimal."""
    return None if fraction is None else f"{fraction:.1%}"


class Rows:
    """What a dataclass inherits to give itself as rows."""

    #: Properties that are columns beside the fields.
    also: ClassVar[tuple[str, ...]] = ()
    #: Fields whose records are the rows; () for a record that is one row. None: all fields that
    #: hold several records.
    rows_of: ClassVar[tuple[str, ...] | None] = None

    def to_rows(self) -> list[dict[str, object]]:
        """One row for a record; for a table, which holds records, one for each of these.

        A record inside a record becomes columns, "loss_nats" for `loss.nats`. Where a table holds
        several kinds of records, the column "table" says which; columns that a row lacks are None.
        What holds for the whole table is not repeated: it is an attribute of the table.
        """
        parts = {name: records for name, records in _parts(self).items() if records}
        if not parts:
            return [] if _parts(self) else [_columns(self)]
        rows = [
            ({"table": name} if len(parts) > 1 else {}) | row
            for name, records in parts.items()
            for record in records
            for row in _rows_of(record)
        ]
        names = dict.fromkeys(name for row in rows for name in row)
        return [{name: row.get(name) for name in names} for row in rows]


def _parts(table: Rows) -> dict[str, Sequence[object]]:
    """Name of a field -> the records in it."""
    found: dict[str, Sequence[object]] = {}
    for name, value in _fields(table).items():
        if table.rows_of is None:
            if isinstance(value, tuple | list) and value and all(map(_is_record, value)):
                found[name] = value
        elif name in table.rows_of:
            one = [] if value is None else [value]
            found[name] = value if isinstance(value, tuple | list) else one
    return found


def _rows_of(record: object) -> list[dict[str, object]]:
    has_own = isinstance(record, Rows) and type(record).to_rows is not Rows.to_rows
    return record.to_rows() if has_own else [_columns(record)]  # type: ignore[attr-defined]


def _is_record(value: object) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _fields(record: object) -> dict[str, Any]:
    assert dataclasses.is_dataclass(record)
    return {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}


def _columns(record: object) -> dict[str, object]:
    """The fields of one record, those of records in it under longer names."""
    values = _fields(record)
    values |= {name: getattr(record, name) for name in getattr(record, "also", ())}
    found: dict[str, object] = {}
    for name, value in values.items():
        if _is_record(value):
            found |= {f"{name}_{inner}": item for inner, item in _columns(value).items()}
        else:
            found[name] = plain(value)
    return found


def plain(value: object) -> object:
    """A value without numpy, paths and records in it: what JSON has, and NaN and infinity."""
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if _is_record(value):
        return _columns(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value) if isinstance(value, PurePath) else repr(value)
