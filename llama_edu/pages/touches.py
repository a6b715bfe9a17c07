"""Touches: which step of a text touched each page first and last, and how many steps did.

The steps may also be the parts of one token's computation: the embedding, the layers, the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.pages.arithmetic import bytes_in_pages
from llama_edu.pages.faults import FaultCounts
from llama_edu.pages.record import Record
from llama_edu.pages.verdict import Kind, Verdict
from llama_edu.table import Rows

#: What colors a page: the first step that touched it, the last, the number of steps that did, or
#: whether the newest step did. Of a mixture of experts the newest step's are those that it chose.
Mode = Literal["first", "last", "count", "now"]
MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True)
class Step:
    """One step of a text: what the model read, and the pages that this touched.

    Attributes:
        text: what was read: the prompt in the first step, one token's text in each later one. Of
            a part of one token's computation, its name.
        record: the pages.
        tokens: the ids that were read; empty if they are not known.
    """

    text: str
    record: Record
    tokens: tuple[int, ...] = ()


class Touches:
    """The steps of one text so far.

    Attributes:
        steps: in order. noun: what one of them is, a "token" of a text or a "part" of a token.
        plain_faults: number of steps -> faults of these steps on a plain mapping, if counted.
    """

    def __init__(
        self, steps: Sequence[Step] = (), noun: Literal["token", "part"] = "token"
    ) -> None:
        self.steps: list[Step] = []
        self.noun = noun
        self.plain_faults: dict[int, FaultCounts] = {}
        self._known: dict[Mode, tuple[int, np.ndarray]] = {}
        for step in steps:
            self.add(step)

    def add(self, step: Step) -> None:
        """Append a step.

        Raises MeasurementError if its record has no pages, or is of another file than the first.
        """
        record = step.record
        if record.pages is None:
            raise MeasurementError(f"page map: {record.headline}; there are no pages to show")
        if self.steps:
            first = self.steps[0].record
            if (first.file_name, first.n_pages) != (record.file_name, record.n_pages):
                raise MeasurementError(
                    f"page map: records of {first.file_name} and {record.file_name}, expected all "
                    f"of one file"
                )
        self.steps.append(step)

    def __len__(self) -> int:
        return len(self.steps)

    def values(self, mode: Mode, n_steps: int | None = None) -> np.ndarray:
        """The value that colors each page after the first `n_steps` steps (by default, all).

        Returns:
            (n_pages,) int32, -1 for a page that was never touched; else the index of the first or
            the last step that touched it, or with "count" the number of steps that did, minus one.
            With "now" the index of the newest of these steps, -1 for what it did not touch.
        """
        n_steps = len(self.steps) if n_steps is None else n_steps
        if mode == "now":
            touched = self.steps[n_steps - 1].record.pages
            assert touched is not None  # checked by add()
            return np.where(touched, n_steps - 1, -1).astype(np.int32)
        done, values = self._known.get(mode, (0, None))
        if values is None or done > n_steps:
            done, values = 0, np.full(self.steps[0].record.n_pages, -1, np.int32)
        # while a text is generated, only the newest step has to be added
        values = values.copy()
        for i in range(done, n_steps):
            touched = self.steps[i].record.pages
            assert touched is not None  # checked by add()
            if mode == "count":
                values += touched
            elif mode == "last":
                values[touched] = i
            else:
                values[touched & (values < 0)] = i
        self._known[mode] = n_steps, values
        return values

    def visits(self, page: int, n_steps: int | None = None) -> list[int]:
        """Indices of the steps that touched this page."""
        pages = [step.record.pages for step in self.steps[:n_steps]]
        return [i for i, touched in enumerate(pages) if touched is not None and touched[page]]

    def newest_line(self, n_steps: int | None = None) -> str:
        """What the newest of the first `n_steps` steps touched, and how much of it was new."""
        n_steps = len(self.steps) if n_steps is None else n_steps
        alone = Touches(self.steps[n_steps - 1 : n_steps]).summary()
        before = self.summary(n_steps - 1).n_touched if n_steps > 1 else 0
        n_new = self.summary(n_steps).n_touched - before
        return (
            f"{self.value_word('now', n_steps - 1)}: {alone.true_line}; {n_new:,} of them are new"
        )

    def step_word(self, step: int) -> str:
        """What to call a step: "prompt", "token 3"; of parts, the name, "layer 2"."""
        if self.noun == "part":
            return self.steps[step].text if step < len(self.steps) else f"part {step}"
        return "prompt" if step == 0 else f"token {step}"

    def value_word(self, mode: Mode, value: int) -> str:
        """What a value of values() means, for a legend."""
        if mode == "count":
            return "once" if value == 0 else f"{value + 1} times"
        return self.step_word(value)

    def untouched_word(self, mode: Mode) -> str:
        """What no color means, for a legend."""
        return f"not by this {self.noun}" if mode == "now" else "never"

    def summary(self, n_steps: int | None = None) -> Summary:
        """The totals after the first `n_steps` steps (by default, all)."""
        n_steps = len(self.steps) if n_steps is None else n_steps
        steps = self.steps[:n_steps]
        touched = self.values("first", n_steps) >= 0
        record = steps[0].record
        return Summary(
            n_steps=n_steps,
            n_pages=len(touched),
            n_touched=int(touched.sum()),
            touched_bytes=bytes_in_pages(0, record.file_bytes, touched, record.page_size),
            file_bytes=record.file_bytes,
            page_size=record.page_size,
            faults=self.plain_faults.get(n_steps),
            verdict=combined([step.record.verdict for step in steps]),
        )


@dataclass(frozen=True)
class Summary(Rows):
    """Totals over some steps. `faults` are those of a plain mapping, or None if not counted."""

    n_steps: int
    n_pages: int
    n_touched: int
    touched_bytes: int
    file_bytes: int
    page_size: int
    faults: FaultCounts | None
    verdict: Verdict

    @property
    def touched_fraction(self) -> float:
        """Touched pages over all pages."""
        return self.n_touched / self.n_pages

    @property
    def naive_fraction(self) -> float | None:
        """The method of 2023: faults times page size, over the file's bytes; None if unknown."""
        if self.faults is None:
            return None
        return self.faults.total * self.page_size / self.file_bytes

    @property
    def true_line(self) -> str:
        """The count and how far to trust it."""
        return (
            f"{self.n_touched:,} of {self.n_pages:,} pages {self.verdict.verb} "
            f"({self.touched_fraction:.1%}), {self.touched_bytes:,} bytes. "
            f"Verdict: {self.verdict.kind}"
        )

    @property
    def naive_line(self) -> str:
        """The result by the method of 2023 for the same steps, and that it is wrong."""
        if self.faults is None or self.naive_fraction is None:
            return "faults of a plain mapping: not counted so far"
        return (
            f"faults: {self.faults}; times {self.page_size:,} bytes that would be "
            f"{self.faults.total * self.page_size:,} bytes, {self.naive_fraction:.1%} of the file. "
            f"Verdict: wrong as an amount of memory, because one fault can map many pages"
        )


def combined(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on the union of several records' pages: the weakest of them.

    A union of lower bounds and exact sets is a lower bound. A union that may lack pages and may
    also contain too many is no bound at all, so it gets "counts only".
    """
    kinds = {verdict.kind for verdict in verdicts}
    reasons = tuple(dict.fromkeys(reason for verdict in verdicts for reason in verdict.reasons))
    kind: Kind = "exact"
    if "computed, not measured" in kinds:
        kind = "computed, not measured"
    elif "counts only" in kinds or {"lower bound", "upper bound"} <= kinds:
        kind = "counts only"
    elif "lower bound" in kinds:
        kind = "lower bound"
    elif "upper bound" in kinds:
        kind = "upper bound"
    return Verdict(kind, reasons)
