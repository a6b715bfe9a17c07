"""Record: the pages that one computation touched, per tensor, with a verdict on the count."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.files.layout import TensorSpec
from llama_edu.html import escaped
from llama_edu.pages.arithmetic import bytes_in_pages, n_pages_of
from llama_edu.pages.by_tensor import TensorPages
from llama_edu.pages.faults import FaultCounts
from llama_edu.pages.verdict import DEFINITION, Verdict
from llama_edu.text import visible


class Record:
    """What was observed during one `with lab.record(...)` block.

    Until the block has ended, whatever was measured raises MeasurementError.

    Attributes:
        label: the caller's name for it.
        backend: name of the instrument.
        page_size: bytes of a page.
        plain_faults: faults that the same work caused on a plain mapping, if the caller measured
            them (a lab with backend "faults" does that); the naive figure then uses these.
        names_read: the tensors that the computation said it reads, in order; see Ledger.
        order: (n,) int64 page numbers in the order of their first touch, if that was requested.
    """

    def __init__(
        self, label: str, file_name: str, file_bytes: int, tensors: Mapping[str, TensorSpec],
        page_size: int, backend: str, effect_on_faults: str,
    ) -> None:  # fmt: skip
        self.label = visible(label)
        self.file_name = visible(file_name)
        self.file_bytes = file_bytes
        self.tensors = tensors
        self.page_size = page_size
        self.backend = backend
        self.plain_faults: FaultCounts | None = None
        self.names_read: tuple[str, ...] = ()
        self.order: np.ndarray | None = None
        self._effect_on_faults = effect_on_faults
        self._finished = False

    def finish(
        self, pages: np.ndarray | None, predicted: np.ndarray | None, faults: FaultCounts | None,
        elapsed_s: float, verdict: Verdict,
    ) -> None:  # fmt: skip
        """Fill the record; the lab calls this once."""
        for bitmap in (pages, predicted):
            if bitmap is not None:
                bitmap.flags.writeable = False
        self._pages, self._predicted = pages, predicted
        self._faults, self._elapsed_s, self._verdict = faults, elapsed_s, verdict
        self._finished = True

    def _need_end(self) -> None:
        if not self._finished:
            raise MeasurementError(
                f"record {self.label!r}: has not ended, expected to be read after its with block"
            )

    @property
    def pages(self) -> np.ndarray | None:
        """(n_pages,) bool, read-only: page i of the file was touched. None with "counts only"."""
        self._need_end()
        return self._pages

    @property
    def predicted(self) -> np.ndarray | None:
        """(n_pages,) bool, read-only: the pages needed according to the ledger, or None."""
        self._need_end()
        return self._predicted

    @property
    def faults(self) -> FaultCounts | None:
        """Faults of the whole process during the block, or None if they are not counted."""
        self._need_end()
        return self._faults

    @property
    def elapsed_s(self) -> float:
        """Seconds that the block took, including the overhead of observing it."""
        self._need_end()
        return self._elapsed_s

    @property
    def verdict(self) -> Verdict:
        """How far `pages` can be trusted."""
        self._need_end()
        return self._verdict

    @property
    def n_without_order(self) -> int | None:
        """Touched pages missing from `order` (the kernel's buffer was full); None without order."""
        if self.order is None or self.pages is None:
            return None
        ordered = np.zeros(self.n_pages, bool)
        ordered[self.order] = True
        return int((self.pages & ~ordered).sum())

    @property
    def n_pages(self) -> int:
        """Pages of the file."""
        return n_pages_of(self.file_bytes, self.page_size)

    @property
    def n_touched(self) -> int | None:
        """Touched pages, each counted once; None with "counts only"."""
        return None if self.pages is None else int(self.pages.sum())

    @property
    def touched_bytes(self) -> int | None:
        """Bytes of the file that are in touched pages."""
        if self.pages is None:
            return None
        return bytes_in_pages(0, self.file_bytes, self.pages, self.page_size)

    @property
    def naive_bytes(self) -> int | None:
        """Faults times page size: the amount of memory that the method of 2023 would report.

        None where faults are not counted, and where those that were are the instrument's own.
        """
        faults = self.plain_faults or (None if self._effect_on_faults else self.faults)
        return None if faults is None else faults.total * self.page_size

    @property
    def why_naive_is_wrong(self) -> str:
        """One sentence on what `naive_bytes` leaves out, or on why there is no such number."""
        if self._effect_on_faults and not self.plain_faults:
            return f"the faults are the instrument's own: {self._effect_on_faults}"
        return (
            "one fault can map many pages at once, and a fault on the heap maps none of the file; "
            "these are of a plain mapping"
        )

    @property
    def touched(self) -> TensorPages:
        """The touched pages per tensor, layer or kind; as text, a table.

        Raises MeasurementError with "counts only": there are no pages to list.
        """
        if self.pages is None:
            raise MeasurementError(
                f"record {self.label!r}: counts only, no pages; {'; '.join(self.verdict.reasons)}"
            )
        return TensorPages(self.tensors, self.file_bytes, self.page_size, self.pages)

    @property
    def headline(self) -> str:
        """The total and its verdict in one line."""
        if self.n_touched is None:
            return f"{self.label}: no page count. Verdict: {self.verdict}"
        share = self.n_touched / self.n_pages
        return (
            f"{self.label}: {self.n_touched:,} of {self.n_pages:,} pages {self.verdict.verb} "
            f"({share:.1%}), {self.touched_bytes:,} bytes. Verdict: {self.verdict}"
        )

    def to_rows(self) -> list[dict[str, object]]:
        """One row per tensor, with the verdict; without a page count, one row that says so."""
        verdict: dict[str, object] = {"verdict": self.verdict.kind}
        rows: list[dict[str, object]] = [{}] if self.pages is None else self.touched.to_rows()
        return [row | verdict for row in rows]

    @property
    def naive_line(self) -> str:
        """The result by the method of 2023, and why it is wrong, in one line."""
        faults = self.plain_faults or self.faults
        if faults is None:
            return "faults: not counted on this system"
        if self.naive_bytes is None:
            return (
                f"faults: {faults}, the instrument's own. Verdict: counts only, no amount of "
                f"memory and no reading of 2023: {self._effect_on_faults}"
            )
        return (
            f"faults: {faults}; times {self.page_size:,} bytes that would be "
            f"{self.naive_bytes:,} bytes, {self.naive_bytes / self.file_bytes:.1%} of the file. "
            f"Verdict: counts only, wrong as an amount of memory: {self.why_naive_is_wrong}"
        )

    def __repr__(self) -> str:
        if not self._finished:
            return f"Record({self.label!r}, not ended)"
        return (
            f"Record({self.label!r}, {self.file_name!r}, touched {self.n_touched} of "
            f"{self.n_pages} pages, {self.backend}, {self.verdict.kind})"
        )

    def __str__(self) -> str:
        if not self._finished:
            return repr(self)
        table = [] if self.pages is None else [str(self.touched)]
        how = f"instrument: {self.backend}; {DEFINITION}"
        return "\n".join([self.headline, *table, self.naive_line, how])

    def _repr_html_(self) -> str:
        if not self._finished:
            return f"<p>{escaped(repr(self))}</p>"
        table = "" if self.pages is None else self.touched._repr_html_()
        return f"<p><b>{escaped(self.headline)}</b></p>{table}<p>{escaped(self.naive_line)}</p>"
