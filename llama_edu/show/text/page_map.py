"""A page map in plain text, a line per tensor, in the style of vmtouch.

Each character stands for an equal share of a tensor's pages: the denser it is, the more of them
were touched. A share in which few pages were touched is never drawn empty, and one in which nearly
all were is never drawn full.
Source of the style: vmtouch(8), Doug Hoyte, https://hoytech.com/vmtouch/.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.pages.by_tensor import REST
from llama_edu.pages.record import Record
from llama_edu.text import visible

#: From none to all of a character's pages.
_SHADES = " .-+*#"

#: With more tensors than this, each layer and each expert of it gets one line; with more of these
#: than this, each layer.
_MOST_TENSORS = 64


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
    """The pages of a record as text: one line per tensor (or layer, or expert), and the verdict.

    Raises MeasurementError when the record has counts only and no pages.
    """
    pages = record.pages
    if pages is None:
        raise MeasurementError(f"page map: {record.headline}; there are no pages to draw")
    touched = record.touched
    extent: Callable[[str], np.ndarray] = touched.extent
    rows = touched.by_tensor()
    if len(record.tensors) > _MOST_TENSORS:
        rows, extent = touched.by_band(), touched.band_extent
        if len(rows) > _MOST_TENSORS:
            rows, extent = touched.by_layer(), touched.extent
    parts = [("whole file", f"[{shade(pages, width)}]")]
    for row in rows:
        if row.name != REST:
            drawn = shade(pages[extent(row.name)], width)
            parts.append((row.name, f"[{drawn}] {row.n_touched:,} of {row.n_pages:,}"))
    legend = f"legend: '{_SHADES[0]}' none, '{_SHADES[1:-1]}' some, '{_SHADES[-1]}' all touched"
    width = max(len(visible(name)) for name, _ in parts)
    lines = [f"{visible(name):{width}} {drawn}" for name, drawn in parts]
    return "\n".join([record.headline, *lines, legend])
