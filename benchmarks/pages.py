"""The cost of recording pages: microseconds per touched and per mapped page, per instrument."""

from __future__ import annotations

import numpy as np

from benchmarks.models import SMALL, random_model
from benchmarks.timing import interleave, table
from llama_edu.errors import MeasurementError
from llama_edu.pages.backends import backend_names
from llama_edu.pages.lab import PageLab


def run() -> str:
    """The table on instruments, as Markdown."""
    path = random_model(SMALL, "f32")
    rows = []
    for name in backend_names():
        try:
            lab = PageLab.open(path, name)
        except MeasurementError as error:
            rows.append((name, "refused", str(error).partition(": ")[2][:80], ""))
            continue
        with lab:
            rows.append(_cost(name, lab))
    head = (
        "instrument",
        "a record in which nothing is read",
        "one in which every page is",
        "per touched page",
    )
    return f"{path.stat().st_size / 1e6:,.0f} MB, page cache warm.\n\n" + table(head, rows)


def _cost(name: str, lab: PageLab) -> tuple[str, ...]:
    mapping = lab.backend.mapped.mmap

    def nothing() -> None:
        with lab.record("nothing"):
            pass

    def everything() -> None:
        with lab.record("everything"):
            np.frombuffer(mapping, np.uint8)[:: lab.page_size].max()

    times = interleave({"nothing": nothing, "everything": everything})
    idle, busy = times["nothing"].median_s, times["everything"].median_s
    return (
        name,
        f"{1e3 * idle:.1f} ms, {1e6 * idle / lab.n_pages:.3f} us per mapped page",
        f"{1e3 * busy:.0f} ms",
        f"{1e6 * (busy - idle) / lab.n_pages:.2f} us",
    )
