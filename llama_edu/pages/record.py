"""Record: the pages that one piece of work touched, per tensor, with a verdict on the number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.files.layout import TensorSpec
from llama_edu.html import escaped
from llama_edu.pages.arithmetic import bytes_in_pages, page_range
from llama_edu.pages.faults import FaultCounts
from llama_edu.pages.verdict import DEFINITION, Verdict
from llama_edu.text import visible

_LAYER = re.compile(r"layers\.(\d+)\.(.+)")

#: Name of the row for the pages that hold no byte of any tensor.
REST = "(rest of the file)"

#: Lines of the tensor table that `str(record)` shows before it groups tensors by kind.
_MOST_ROWS = 24


def layer_of(name: str) -> str:
    """The layer that a tensor belongs to, "layer 3"; its own name if it is in none."""
    found = _LAYER.match(name)
    return f"layer {found[1]}" if found else name


def kind_of(name: str) -> str:
    """The kind of a tensor, the same in all layers, "layers.*.wq"; its own name if in none."""
    found = _LAYER.match(name)
    return f"layers.*.{found[2]}" if found else name


@dataclass(frozen=True)
class Row:
    """One line of a page table: a tensor, or several together.

    Attributes:
        name: of the tensor or group.
        n_pages: pages in which at least one byte of it lies.
        n_touched: how many of those were touched. Two neighbors on one page both count it.
        n_bytes: its bytes in the file.
        touched_bytes: how many of those lie in touched pages.
    """

    name: str
    n_pages: int
    n_touched: int
    n_bytes: int
    touched_bytes: int

    @property
    def fraction(self) -> float:
        """Touched pages over pages; 0.0 for a tensor without pages."""
        return self.n_touched / self.n_pages if self.n_pages else 0.0


class Record:
    """What was seen between the beginning and the end of one `with lab.record(...)` block.

    Before the block has ended only `label` is known, and the rest raises MeasurementError.

    Attributes:
        label: what the caller called it.
        backend: name of the instrument.
        page_size: bytes of a page.
        plain_faults: faults that the same work caused on a plain mapping, where the caller measured
            them (a lab with backend "faults" does that); the naive figure is then made of these.
        order: (n,) int64 page numbers in the order of their first touch, where that was asked for.
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
                f"record {self.label!r}: has not ended, expected to be asked after its with block"
            )

    @property
    def pages(self) -> np.ndarray | None:
        """(n_pages,) bool, read-only: page i of the file was touched. None with "counts only"."""
        self._need_end()
        return self._pages

    @property
    def predicted(self) -> np.ndarray | None:
        """(n_pages,) bool, read-only: what the ledger says was needed, or None."""
        self._need_end()
        return self._predicted

    @property
    def faults(self) -> FaultCounts | None:
        """Faults of the whole process during the block, or None where nobody counts them."""
        self._need_end()
        return self._faults

    @property
    def elapsed_s(self) -> float:
        """Seconds that the block took, with the cost of being measured, without reading out."""
        self._need_end()
        return self._elapsed_s

    @property
    def verdict(self) -> Verdict:
        """How far `pages` can be trusted."""
        self._need_end()
        return self._verdict

    @property
    def n_without_order(self) -> int | None:
        """Touched pages that `order` lacks as the kernel's buffer was full; None without order."""
        if self.order is None or self.pages is None:
            return None
        ordered = np.zeros(self.n_pages, bool)
        ordered[self.order] = True
        return int((self.pages & ~ordered).sum())

    @property
    def n_pages(self) -> int:
        """Pages of the file."""
        return -(-self.file_bytes // self.page_size)

    @property
    def n_touched(self) -> int | None:
        """Touched pages, each counted once; None with "counts only"."""
        return None if self.pages is None else int(self.pages.sum())

    @property
    def touched_bytes(self) -> int | None:
        """Bytes of the file that lie in touched pages."""
        return None if self.pages is None else self._touched(0, self.file_bytes)

    @property
    def naive_bytes(self) -> int | None:
        """Faults times page size: the amount of memory that the 2023 reading would have named."""
        faults = self.plain_faults or self.faults
        return None if faults is None else faults.total * self.page_size

    @property
    def why_naive_is_wrong(self) -> str:
        """One sentence on what `naive_bytes` leaves out, given how it was counted."""
        how = "these are of a plain mapping" if self.plain_faults else self._effect_on_faults
        return (
            f"one fault can map many pages at once, and a fault on the heap maps none of the "
            f"file; {how}"
        )

    def table(self) -> list[Row]:
        """One row per tensor in file order, then REST: header, vocabulary, padding.

        Raises MeasurementError with "counts only": there are no pages to put in it.
        """
        order = sorted(self.tensors.values(), key=lambda spec: spec.offset)
        rows = [self._row(spec.name, [spec]) for spec in order]
        in_tensors = self._bitmap(order)
        rest_bytes = self.file_bytes - sum(spec.n_bytes for spec in order)
        outside = ~in_tensors
        if outside.any():
            touched = outside & self._measured()
            rows.append(Row(REST, int(outside.sum()), int(touched.sum()),
                            rest_bytes, self._bytes_of(touched)))  # fmt: skip
        return rows

    def by_layer(self) -> list[Row]:
        """One row per layer; tensors outside the layers have a row each. In file order."""
        return self._grouped(layer_of)

    def by_kind(self) -> list[Row]:
        """One row per kind of tensor, all layers together: "layers.*.wq" and so on."""
        return self._grouped(kind_of)

    def extent(self, name: str) -> np.ndarray:
        """(n_pages,) bool: pages that hold a byte of the tensor, layer or kind of this name."""
        return self._bitmap(
            spec
            for spec in self.tensors.values()
            if name in (spec.name, layer_of(spec.name), kind_of(spec.name))
        )

    def _grouped(self, key: Callable[[str], str]) -> list[Row]:
        groups: dict[str, list[TensorSpec]] = {}
        for spec in sorted(self.tensors.values(), key=lambda spec: spec.offset):
            groups.setdefault(key(spec.name), []).append(spec)
        return [self._row(name, specs) for name, specs in groups.items()]

    def _row(self, name: str, specs: list[TensorSpec]) -> Row:
        pages = self._bitmap(specs)
        return Row(
            name,
            int(pages.sum()),
            int((pages & self._measured()).sum()),
            sum(spec.n_bytes for spec in specs),
            sum(self._touched(spec.offset, spec.n_bytes) for spec in specs),
        )

    def _measured(self) -> np.ndarray:
        if self.pages is None:
            raise MeasurementError(
                f"record {self.label!r}: counts only, no pages; {'; '.join(self.verdict.reasons)}"
            )
        return self.pages

    def _bitmap(self, specs: Iterable[TensorSpec]) -> np.ndarray:
        pages = np.zeros(self.n_pages, bool)
        for spec in specs:
            span = page_range(spec.offset, spec.n_bytes, self.page_size)
            pages[span.start : span.stop] = True
        return pages

    def _touched(self, offset: int, n_bytes: int) -> int:
        return bytes_in_pages(offset, n_bytes, self._measured(), self.page_size)

    def _bytes_of(self, pages: np.ndarray) -> int:
        return bytes_in_pages(0, self.file_bytes, pages, self.page_size)

    # what people see

    @property
    def headline(self) -> str:
        """The total and its verdict in one line."""
        if self.n_touched is None:
            return f"{self.label}: no page count. Verdict: {self.verdict}"
        share = self.n_touched / self.n_pages
        verb = "needed" if self.verdict.kind == "computed, not measured" else "touched"
        return (
            f"{self.label}: {self.n_touched:,} of {self.n_pages:,} pages {verb} ({share:.1%}), "
            f"{self.touched_bytes:,} bytes. Verdict: {self.verdict}"
        )

    @property
    def naive_line(self) -> str:
        """The 2023 reading of the same run, and why it is wrong, in one line."""
        faults = self.plain_faults or self.faults
        if faults is None or self.naive_bytes is None:
            return "faults: not counted on this system"
        return (
            f"faults: {faults}; times {self.page_size:,} bytes that would be "
            f"{self.naive_bytes:,} bytes, {self.naive_bytes / self.file_bytes:.1%} of the file. "
            f"Verdict: counts only, wrong as an amount of memory: {self.why_naive_is_wrong}"
        )

    def shown_rows(self) -> list[Row]:
        """The rows that people want to see: tensors of a small file, kinds of a large one."""
        rows = self.table()
        if len(rows) <= _MOST_ROWS:
            return rows
        return self.by_kind() + [row for row in rows if row.name == REST]

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
        lines = [self.headline]
        if self.pages is not None:
            rows = self.shown_rows()
            width = max(len("total"), *(len(visible(row.name)) for row in rows))
            lines.append(f"{'':{width}}  {'pages':>10} {'touched':>10} {'%':>6} {'bytes':>15}")
            lines += [_line(row, width) for row in rows]
            lines.append(_line(self._total(), width))
        lines.append(self.naive_line)
        lines.append(f"instrument: {self.backend}; {DEFINITION}")
        return "\n".join(lines)

    def _total(self) -> Row:
        return Row("total", self.n_pages, int(self._measured().sum()), self.file_bytes,
                   self.touched_bytes or 0)  # fmt: skip

    def _repr_html_(self) -> str:
        if not self._finished:
            return f"<p>{escaped(repr(self))}</p>"
        parts = [f"<p><b>{escaped(self.headline)}</b></p>"]
        if self.pages is not None:
            cells = "".join(
                f"<tr><td style='text-align:left'>{escaped(row.name)}</td>"
                f"<td>{row.n_pages:,}</td><td>{row.n_touched:,}</td><td>{row.fraction:.1%}</td>"
                f"<td>{row.touched_bytes:,}</td></tr>"
                for row in [*self.shown_rows(), self._total()]
            )
            head = (
                "<tr><th></th><th>pages</th><th>touched</th><th>%</th><th>bytes touched</th></tr>"
            )
            parts.append(f"<table>{head}{cells}</table>")
        parts.append(f"<p>{escaped(self.naive_line)}</p>")
        return "".join(parts)


def _line(row: Row, width: int) -> str:
    return (
        f"{visible(row.name):{width}}  {row.n_pages:>10,} {row.n_touched:>10,} "
        f"{row.fraction:>6.1%} {row.touched_bytes:>15,}"
    )
