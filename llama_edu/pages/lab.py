"""PageLab: exactly which pages of a weight file a computation needed.

    lab = PageLab.open("model.bin")
    model = load("model.bin", lab=lab)          # its weights are views of the lab's mapping
    with lab.record("prefill") as record:
        model.logits(tokens)
    print(record)                               # pages per tensor, and how far to trust them

The lab maps the file privately and discards the mapping at the end: instruments change how the
kernel treats a mapping, and no other user of the file should inherit that.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from llama_edu.errors import MeasurementError, RequestError
from llama_edu.files.layout import Checkpoint, ShardedTensor, TensorSpec
from llama_edu.files.mapped import ClosedAtExit, check_range, open_weights
from llama_edu.pages.arithmetic import n_pages_of
from llama_edu.pages.backends import open_backend
from llama_edu.pages.calibrate import calibrate
from llama_edu.pages.faults import FaultCounts, process_faults
from llama_edu.pages.ledger import Ledger
from llama_edu.pages.record import Record
from llama_edu.pages.trace import FaultTrace
from llama_edu.pages.verdict import Verdict
from llama_edu.text import visible


class PageLab(ClosedAtExit):
    """A weight file under observation.

    Args:
        path: one weight file.
        tensors: name -> TensorSpec; all of them in this file.
        backend: "auto" for the best that passes calibration here, or one of
            `pages.backends.backend_names()`.
        clock: returns seconds; a test may pass its own.

    Attributes:
        path, tensors, page_size, n_pages: of the file.
        backend: the instrument in use; `backend.name`, `backend.sees`.
        refused: why each better instrument was refused: name -> sentence.
        ledger: where the forward pass records what it reads; emptied at the start of each record.

    Raises MeasurementError for a checkpoint in several files or a named backend that is refused,
    RequestError for an unknown backend, FormatError for a tensor outside the file. A context
    manager.
    """

    def __init__(
        self,
        path: Path | str,
        tensors: Mapping[str, TensorSpec | ShardedTensor],
        backend: str = "auto",
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.path = Path(path)
        self.tensors: dict[str, TensorSpec] = {}
        for name, spec in tensors.items():
            if isinstance(spec, ShardedTensor) or spec.file != 0:
                raise MeasurementError(
                    f"{self.path}: {name} is in several files or in a later one, expected all "
                    f"weights in one file; convert the checkpoint to one file first"
                )
            self.tensors[name] = spec
        with open_weights(self.path) as file:
            n_bytes = os.fstat(file.fileno()).st_size
        for spec in self.tensors.values():
            check_range(spec, n_bytes, self.path)
        self.page_size = mmap.PAGESIZE
        self._clock = clock
        self._recording: Record | None = None
        self.backend, self.refused = open_backend(self.path, backend, calibrate)
        self.n_pages = n_pages_of(self.backend.mapped.n_bytes, self.page_size)
        self.ledger = Ledger(self.tensors, self.page_size, self.n_pages)

    @classmethod
    def open(cls, path: Path | str, backend: str = "auto") -> PageLab:
        """A lab on any readable checkpoint whose weights are in one file."""
        from llama_edu.files.detect import read_checkpoint

        return cls.of(read_checkpoint(path), backend)

    @classmethod
    def of(cls, checkpoint: Checkpoint, backend: str = "auto") -> PageLab:
        """A lab on a checkpoint that has already been read."""
        if len(checkpoint.paths) != 1:
            raise MeasurementError(
                f"{checkpoint.paths[0]}: is one of {len(checkpoint.paths)} files, expected all "
                f"weights in one file; convert the checkpoint to one file first"
            )
        return cls(checkpoint.paths[0], checkpoint.tensors, backend)

    def view(self, tensor: str | TensorSpec) -> np.ndarray:
        """A read-only view of one tensor, in the lab's own mapping.

        Only what is read through such views is observed.
        """
        if isinstance(tensor, TensorSpec):
            return self.backend.mapped.view(tensor)
        if tensor not in self.tensors:
            raise RequestError(f"{visible(tensor)}: no such tensor in {self.path.name}")
        return self.backend.mapped.view(self.tensors[tensor])

    def check_bytes_unchanged(self) -> None:
        """Raise FormatError if the bytes of the file were cut off or written over."""
        self.backend.mapped.check_bytes_unchanged()

    @contextmanager
    def record(self, label: str = "record", *, ordered: bool = False) -> Iterator[Record]:
        """Observe the body of a with block; the record is complete when the block has ended.

        Args:
            label: a name for it.
            ordered: also record the order in which pages were first touched: `record.order`.

        Raises:
            FormatError: the file changed since the lab was opened, or during the block.
            MeasurementError: another record of this lab is still open, the instrument could not be
                armed, or the order was requested and cannot be observed here.
        """
        record = self._begin(label)
        trace = self._trace(label) if ordered else None
        self._recording = record
        faults = process_faults()
        began = self._clock()
        try:
            yield record
        finally:
            elapsed_s = self._clock() - began
            after = process_faults()
            if trace:
                trace.stop()
            self._recording = None
            counted = after - faults if after is not None and faults is not None else None
            self._end(record, counted, elapsed_s)
            if trace:
                record.order = trace.first_touches()

    def _begin(self, label: str) -> Record:
        if self._recording is not None:
            raise MeasurementError(
                f"record {label!r}: {self._recording.label!r} has not ended, expected one record "
                f"at a time; open a second lab for a second observer"
            )
        mapped = self.backend.mapped
        mapped.check_unchanged()
        self.ledger.clear()
        self.backend.arm()
        return Record(
            label, self.path.name, mapped.n_bytes, self.tensors, self.page_size,
            self.backend.name, self.backend.effect_on_faults,
        )  # fmt: skip

    def _end(self, record: Record, faults: FaultCounts | None, elapsed_s: float) -> None:
        reading = self.backend.read()
        self.backend.mapped.check_unchanged()
        pages = reading.pages
        record.names_read = self.ledger.names
        predicted = None if self.ledger.is_empty else self.ledger.pages()
        if pages is not None:
            missed, notes = reading.missed, reading.notes
            if reading.unsure and predicted is not None and np.array_equal(pages, predicted):
                notes += ("no page that the computation reports as read is missing",)
            else:
                missed += reading.unsure
            verdict = Verdict.from_doubts(missed, reading.added, notes)
        elif predicted is not None:
            pages = predicted
            why = "the byte ranges that the forward pass recorded, turned into pages"
            verdict = Verdict("computed, not measured", (why, *reading.notes))
        else:
            verdict = Verdict("counts only", reading.notes)
        record.finish(pages, predicted, faults, elapsed_s, verdict)

    def _trace(self, label: str) -> FaultTrace:
        if not self.backend.one_fault_per_page:
            raise MeasurementError(
                f"record {label!r}: with backend {self.backend.name} there is not one fault for "
                f"each page, expected that for an order of first touches"
            )
        trace = FaultTrace(self.backend.mapped.address, self.n_pages)
        trace.start()
        return trace

    def recalibrate(self) -> None:
        """Check the instrument on known pages again. MeasurementError if it fails now."""
        calibrate(self.backend)

    def describe(self) -> str:
        """The instrument in use and why the better ones are not, one line each."""
        lines = [f"{visible(self.path.name)}: {self.n_pages:,} pages of {self.page_size:,} bytes"]
        lines += [f"refused   {name}: {why}" for name, why in self.refused.items()]
        lines.append(f"in use    {self.backend.name}: {self.backend.sees}")
        return "\n".join(lines)

    def close(self) -> None:
        """Unmap. BufferError, naming the tensors, if views are still held."""
        self.backend.close()

    def __repr__(self) -> str:
        return f"PageLab({self.path.name!r}, {self.n_pages} pages, backend {self.backend.name!r})"
