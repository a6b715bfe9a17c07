"""Which pages of a file are in the page cache now, and asking the kernel to change that.

The page cache belongs to the whole machine: a cached page may have been read by any process, or by
none (read-ahead). A program can only give advice; each call's return code is reported, and its
actual effect is measured afterward.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.files.layout import ShardedTensor, TensorSpec
from llama_edu.files.mapped import MappedFile, open_weights
from llama_edu.pages import linux
from llama_edu.pages.arithmetic import pages_of
from llama_edu.pages.by_tensor import TensorPages
from llama_edu.pages.ranges import own_ranges
from llama_edu.pages.reclaim import may_ask_about
from llama_edu.table import Rows, lay_out, percent
from llama_edu.text import visible

#: One POSIX_FADV_WILLNEED for a whole file silently fetches only one read-ahead window of it (128
#: KiB to 8 MiB on common machines); in steps of this size, all of it is fetched.
PREFETCH_STEP_BYTES = 1 << 20

#: The largest number of tensors that a table lists one by one; of more, it lists the layers.
_MOST_ROWS = 64


@dataclass(frozen=True)
class ResidentRow(Rows):
    """One tensor's share of the page cache."""

    also = ("fraction",)

    name: str
    n_pages: int
    n_resident: int
    n_bytes: int

    @property
    def fraction(self) -> float:
        """Cached pages over pages; 0.0 for a tensor without pages."""
        return self.n_resident / self.n_pages if self.n_pages else 0.0


@dataclass(frozen=True)
class Residency(Rows):
    """Which pages of one file were in the page cache at one moment; may be stale at once.

    Attributes:
        pages: (n_pages,) bool.
        rows: one per tensor, in file order.
        layers: one per layer, and one for each tensor outside the layers, in file order.
    """

    rows_of = ("rows",)

    file_name: str
    file_bytes: int
    page_size: int
    pages: np.ndarray
    rows: tuple[ResidentRow, ...]
    layers: tuple[ResidentRow, ...] = ()

    @property
    def n_resident(self) -> int:
        """Cached pages."""
        return int(self.pages.sum())

    def __repr__(self) -> str:
        return f"Residency({self.file_name!r}, {self.n_resident} of {len(self.pages)} pages)"

    def __str__(self) -> str:
        total = ResidentRow("total", len(self.pages), self.n_resident, self.file_bytes)
        shown = self.layers if len(self.rows) > _MOST_ROWS and self.layers else self.rows
        rows = [(row.name, row.n_pages, row.n_resident, percent(row.fraction), row.n_bytes)
                for row in (*shown, total)]  # fmt: skip
        return (
            f"{visible(self.file_name)}: {self.n_resident:,} of {len(self.pages):,} pages are in "
            f"the page cache now, read by any process (mincore)\n"
        ) + lay_out(("", "pages", "cached", "%", "bytes"), rows)


@dataclass(frozen=True)
class Advice(Rows):
    """One piece of advice to the kernel: the call, how often it was made, and the error code or 0.

    A code of 0 means that the kernel accepted the advice, not that it followed it.
    """

    call: str
    n_calls: int
    code: int

    def __str__(self) -> str:
        outcome = "0" if not self.code else f"{errno.errorcode.get(self.code, self.code)}"
        return f"{self.call} x {self.n_calls:,}: returned {outcome}"


@dataclass(frozen=True)
class Change(Rows):
    """The page cache before and after some advice; `advice` in the order given."""

    before: Residency
    after: Residency
    advice: tuple[Advice, ...]

    def to_rows(self) -> list[dict[str, object]]:
        """One row per tensor: its pages that were cached before and after."""
        return [
            {"name": after.name, "n_pages": after.n_pages, "n_bytes": after.n_bytes,
             "n_resident_before": before.n_resident, "n_resident_after": after.n_resident}
            for before, after in zip(self.before.rows, self.after.rows, strict=True)
        ]  # fmt: skip

    def __str__(self) -> str:
        moved = f"{self.before.n_resident:,} pages cached before, {self.after.n_resident:,} after"
        return "\n".join([*(str(a) for a in self.advice), moved, str(self.after)])


def residency(
    path: Path | str, tensors: Mapping[str, TensorSpec | ShardedTensor] | None = None, file: int = 0
) -> Residency:
    """Which pages of a file are in the page cache at this moment. Reads none of its bytes.

    Args:
        path: the file.
        tensors: name -> spec, for the rows; tensors in other files are left out.
        file: which of the checkpoint's files this is.

    Raises MeasurementError if this user neither owns nor may write the file: Linux (since 5.2) then
    reports every page as resident. Source: mincore(2).
    """
    path = Path(path)
    with open_weights(path):
        pass  # a missing file is reported first
    if not may_ask_about(path):
        raise MeasurementError(
            f"{path}: this user neither owns the file nor may write it (or this is not Unix), so "
            f"the system would report every page as cached; run this as the owner of the file"
        )
    with MappedFile(path) as mapped:
        pages = linux.mincore_pages(mapped.address, mapped.n_bytes)
        n_bytes = mapped.n_bytes
    specs = _specs_in(tensors or {}, file)
    rows = tuple(_row(spec, pages) for spec in specs)
    by_layer = TensorPages({spec.name: spec for spec in specs}, n_bytes, mmap.PAGESIZE, pages)
    layers = tuple(
        ResidentRow(row.name, row.n_pages, row.n_touched, row.n_bytes)
        for row in by_layer.by_layer()
    )
    return Residency(path.name, n_bytes, mmap.PAGESIZE, pages, rows, layers)


def evict(
    path: Path | str, tensors: Mapping[str, TensorSpec | ShardedTensor] | None = None, file: int = 0
) -> Change:
    """Ask the kernel to drop the cached pages of a file, and measure the result.

    Pages that any process has mapped stay, as do files on a file system in memory. Source:
    posix_fadvise(2), POSIX_FADV_DONTNEED.
    """
    before = residency(path, tensors, file)
    with open_weights(Path(path)) as opened:
        fd = opened.fileno()
        advice = (
            # modified pages that are not on disk yet would stay
            _advise("fsync", 1, lambda: os.fsync(fd)),
            _advise(
                "posix_fadvise(POSIX_FADV_DONTNEED)",
                1,
                lambda: os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED),
            ),
        )
    return Change(before, residency(path, tensors, file), advice)


def prefetch(
    path: Path | str,
    tensors: Mapping[str, TensorSpec | ShardedTensor] | None = None,
    file: int = 0,
    *,
    step_bytes: int = PREFETCH_STEP_BYTES,
    most_s: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Change:
    """Ask the kernel to fetch a file into the page cache, step by step, and measure the result.

    The call returns before the disk has answered; the pages are checked every tenth of a second
    until all are there, no more arrive, or `most_s` seconds have passed. Source: posix_fadvise(2),
    POSIX_FADV_WILLNEED.
    """
    before = residency(path, tensors, file)
    with open_weights(Path(path)) as opened:
        fd = opened.fileno()
        starts = range(0, before.file_bytes, step_bytes)

        def fetch() -> None:
            for start in starts:
                os.posix_fadvise(fd, start, step_bytes, os.POSIX_FADV_WILLNEED)

        advice = (_advise("posix_fadvise(POSIX_FADV_WILLNEED)", len(starts), fetch),)
    after = residency(path, tensors, file)
    for _ in range(int(most_s / 0.1)):
        if after.pages.all():
            break
        sleep(0.1)
        later = residency(path, tensors, file)
        if later.n_resident == after.n_resident:
            break
        after = later
    return Change(before, after, advice)


def _advise(call: str, n_calls: int, give: Callable[[], object]) -> Advice:
    try:
        give()
    except OSError as error:
        return Advice(call, n_calls, error.errno or errno.EIO)
    except AttributeError:  # a system without posix_fadvise
        return Advice(call, n_calls, errno.ENOSYS)
    return Advice(call, n_calls, 0)


def _specs_in(
    tensors: Mapping[str, TensorSpec | ShardedTensor], file: int
) -> list[TensorSpec]:  # fmt: skip
    """All tensors and shards in one file, in file order."""
    specs: list[TensorSpec] = []
    for tensor in tensors.values():
        shards = tensor.shards if isinstance(tensor, ShardedTensor) else (tensor,)
        specs += [spec for spec in shards if spec.file == file]
    return sorted(specs, key=lambda spec: spec.offset)


def _row(spec: TensorSpec, pages: np.ndarray) -> ResidentRow:
    own = pages_of(own_ranges(spec), len(pages), mmap.PAGESIZE)
    return ResidentRow(spec.name, int(own.sum()), int((own & pages).sum()), spec.own_bytes)
