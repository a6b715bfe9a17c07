"""How accurate instruments are: what each counter on this machine reports for known accesses.

On a temporary file, the doctor touches one page in twenty, scattered, then every page, then sums
numbers up to the end of a page, and reads from each counter how many pages that was. A counter that
is right every time is trusted on this machine for such accesses; the others are listed with what
they count instead.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.pages.calibrate import touch
from llama_edu.pages.doctor.counters import COUNTERS, Access, Counter, sum_to_the_edge
from llama_edu.table import Rows, lay_out

#: Pages of the doctor's file; 16 MiB where a page has 4 KiB. Not a multiple of a huge page.
N_PAGES = 4099


#: Why one name stands in the table with two verdicts.
_WHY_BOTH = (
    'mincore is not trusted and "lab: mincore" is: the call is the same, but the lab evicts the '
    "file first, switches read-ahead off, and compares the count with the major faults."
)

Trust = Literal["trusted", "under-counts", "over-counts", "under- and over-counts", "refused"]


@dataclass(frozen=True)
class Finding(Rows):
    """What one counter reported.

    Attributes:
        counter: its name.
        reported: pages it reported for each access, in the order of `Report.touched`; empty if it
            was refused.
        verdict: whether to trust it.
        why: the reason, as a short sentence.
    """

    counter: str
    reported: tuple[int, ...]
    verdict: Trust
    why: str


@dataclass(frozen=True)
class Report(Rows):
    """The findings on this machine.

    `touched` lists the accesses: a description, and the number of pages touched.
    """

    rows_of = ("findings",)

    n_pages: int
    touched: tuple[tuple[str, int], ...]
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        accesses = (f"{n:,} {what}" for what, n in self.touched)
        heads = ("counter", "verdict", *accesses, "why")
        nothing = (None,) * len(self.touched)
        rows = [(f.counter, f.verdict, *(f.reported or nothing), f.why) for f in self.findings]
        title = (
            f"Touched known pages of a file of {self.n_pages:,} pages of {mmap.PAGESIZE:,} bytes, "
            f"and read every counter."
        )
        table = lay_out(heads, rows, "<<" + ">" * len(self.touched) + "<")
        return "\n".join([title, table, *([_WHY_BOTH] if self._has_both_mincores else [])])

    @property
    def _has_both_mincores(self) -> bool:
        verdicts = {finding.counter: finding.verdict for finding in self.findings}
        names = ("mincore", "lab: mincore")
        return [verdicts.get(name) for name in names] == ["over-counts", "trusted"]


def examine(folder: Path | str | None = None, *, n_pages: int = N_PAGES, seed: int = 0) -> Report:
    """Examine every counter on a temporary file, which is removed again. Takes a few seconds.

    Args:
        folder: where to create the file, as file systems differ; by default the system's folder for
            temporary files.
        n_pages: pages of the file.
        seed: for choosing the scattered pages.
    """
    rng = np.random.default_rng(seed)
    accesses = (
        Access("scattered", rng.choice(n_pages, n_pages // 20, replace=False), touch),
        Access("all", np.arange(n_pages), touch),
        Access("summed", np.arange(0, n_pages - 1, 20), sum_to_the_edge),
    )
    with tempfile.TemporaryDirectory(dir=folder, prefix="llama_edu_") as made:
        path = Path(made) / "known.bin"
        # a partly filled last page, and bytes that no file system stores as a hole
        content = rng.standard_normal(n_pages * mmap.PAGESIZE // 4, np.float32).tobytes()[:-1234]
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        findings = tuple(_find(counter, path, accesses) for counter in COUNTERS)
    return Report(n_pages, tuple((a.what, len(a.pages)) for a in accesses), findings)


def _find(counter: Counter, path: Path, accesses: tuple[Access, ...]) -> Finding:
    try:
        reported = tuple(counter.count(path, access) for access in accesses)
    except MeasurementError as error:
        return Finding(counter.name, (), "refused", str(error))
    too_few = any(n < len(a.pages) for n, a in zip(reported, accesses, strict=True))
    too_many = any(n > len(a.pages) for n, a in zip(reported, accesses, strict=True))
    verdict: Trust
    if too_few and too_many:
        verdict = "under- and over-counts"
    elif too_few or too_many:
        verdict = "under-counts" if too_few else "over-counts"
    else:
        return Finding(counter.name, reported, "trusted", "right every time")
    return Finding(counter.name, reported, verdict, counter.why)
