"""Plain text tables for the results of experiments."""

from __future__ import annotations

from collections.abc import Sequence


def lay_out(heads: Sequence[str], rows: Sequence[Sequence[object]], n_left: int = 1) -> str:
    """A table as text: the first `n_left` columns to the left, numbers to the right.

    None becomes "-", for what was not measured.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.ljust(width) if i < n_left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(heads), *map(line, cells)])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def mib(n_bytes: int | None) -> str | None:
    """Bytes as MiB, with one decimal."""
    return None if n_bytes is None else f"{n_bytes / 2**20:,.1f}"


def milliseconds(seconds: float | None) -> str | None:
    """Seconds as milliseconds, with one decimal."""
    return None if seconds is None else f"{seconds * 1e3:,.1f}"


def percent(fraction: float | None) -> str | None:
    """A fraction as a percentage, with one decimal."""
    return None if fraction is None else f"{fraction:.1%}"
