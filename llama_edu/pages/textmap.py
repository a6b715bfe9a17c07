"""A page map in plain text, one line per tensor, in the manner of vmtouch.

Each character stands for an equal share of a tensor's pages: the fuller, the more were touched. A
share of which only a little was touched is never drawn empty, nor a nearly full one full.
Source of the manner: vmtouch(8), Doug Hoyte, https://hoytech.com/vmtouch/.
"""

from __future__ import annotations

import numpy as np

from llama_edu.pages.arithmetic import page_range
from llama_edu.pages.record import Record

#: From none to all of the pages under one character.
_SHADES = " .-+*#"


def shade(pages: np.ndarray, width: int) -> str:
    """(n_pages,) bool as at most `width` characters; one per page where there are fewer pages."""
    if not len(pages):
        return ""
    return "".join(_character(part) for part in np.array_split(pages, min(width, len(pages))))


def _character(pages: np.ndarray) -> str:
    if pages.all():
        return _SHADES[-1]
    if not pages.any():
        return _SHADES[0]
    between = len(_SHADES) - 2
    return _SHADES[1 + min(between - 1, int(pages.mean() * between))]


def text_map(record: Record, width: int = 60) -> str:
    """The pages of a record as text: one line per tensor in file order, and the verdict.

    Raises MeasurementError, through the record, when it has counts only and no pages.
    """
    rows = [row for row in record.table() if row.name in record.tensors]
    name_width = max([len("whole file"), *(len(row.name) for row in rows)])
    pages = record.pages
    assert pages is not None  # record.table() has raised before
    lines = [record.headline, f"{'whole file':{name_width}} [{shade(pages, width)}]"]
    for row in rows:
        spec = record.tensors[row.name]
        span = page_range(spec.offset, spec.n_bytes, record.page_size)
        drawn = shade(pages[span.start : span.stop], width)
        lines.append(f"{row.name:{name_width}} [{drawn}] {row.n_touched:,} of {row.n_pages:,}")
    lines.append(
        f"legend: '{_SHADES[0]}' none, '{_SHADES[1:-1]}' some, '{_SHADES[-1]}' all touched"
    )
    return "\n".join(lines)
