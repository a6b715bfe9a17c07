"""Plain text tables: measurements, files side by side, and the contents of a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

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
