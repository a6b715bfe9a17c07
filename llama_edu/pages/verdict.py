"""Verdict: how far a count can be trusted. No count of this package is printed without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["exact", "lower bound", "upper bound", "counts only", "computed, not measured"]

#: What "touched" means wherever this package says it.
DEFINITION = (
    "touched: this process read at least one byte of the page through the lab's mapping, "
    "in user or kernel mode; prefetched pages do not count"
)


@dataclass(frozen=True)
class Verdict:
    """How far one measurement can be trusted.

    Attributes:
        kind: "exact": the set is right. "lower bound": every page in it was touched, others may
            have been. "upper bound": no page outside it was touched. "counts only": no statement
            about pages. "computed, not measured": what the program says it reads.
        reasons: sentences that say why.
    """

    kind: Kind
    reasons: tuple[str, ...] = ()

    @property
    def verb(self) -> str:
        """What happened to the pages that it is about: "touched", or "needed" if only computed."""
        return "needed" if self.kind == "computed, not measured" else "touched"

    @classmethod
    def from_doubts(
        cls, missed: Sequence[str], added: Sequence[str], notes: Sequence[str] = ()
    ) -> Verdict:
        """The verdict on a bitmap, given reasons why pages may be missing from it or too many."""
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
