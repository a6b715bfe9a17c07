"""Verdict: how far a count can be trusted. This package prints no page count without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llama_edu.table import Rows

Kind = Literal["exact", "lower bound", "upper bound", "counts only", "computed, not measured"]

#: What "touched" means throughout this package.
DEFINITION = (
    "touched: this process read at least one byte of the page through the lab's mapping, "
    "in user or kernel mode; prefetched pages do not count"
)


@dataclass(frozen=True)
class Verdict(Rows):
    """How far one measurement can be trusted.

    Attributes:
        kind: "exact": the set is right. "lower bound": every page in it was touched, others may
            have been. "upper bound": no page outside it was touched. "counts only": no statement
            about pages. "computed, not measured": what the program reports that it reads.
        reasons: the reasons, as sentences.
    """

    kind: Kind
    reasons: tuple[str, ...] = ()

    @property
    def verb(self) -> str:
        """What happened to the pages in question: "touched", or "needed" if only computed."""
        return "needed" if self.kind == "computed, not measured" else "touched"

    @classmethod
    def from_doubts(
        cls, missed: Sequence[str], added: Sequence[str], notes: Sequence[str] = ()
    ) -> Verdict:
        """The verdict on a bitmap, given reasons why it may lack pages or have too many."""
        kind: Kind = "exact"
        if missed and added:
            kind = "counts only"
        elif missed:
            kind = "lower bound"
        elif added:
            kind = "upper bound"
        return cls(kind, (*missed, *added, *notes))

    def __str__(self) -> str:
        return f"{self.kind}: {'; '.join(self.reasons)}" if self.reasons else self.kind
