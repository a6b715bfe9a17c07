"""A model larger than the memory it may use: what a token costs when the weights do not fit.

A dense model reads all weights for each token, in the same order. If they do not fit, the kernel
has evicted each page just before it is needed again: what does fit saves little until everything
fits, a cliff. Keeping one part in memory and rereading the rest saves the reading of that part.

Where a control group can be made, the kernel limits a child process. Elsewhere the limit is
emulated: this process gives pages back itself (MADV_PAGEOUT), least recently used first, and the
result is labeled "emulated".
"""

from __future__ import annotations

import json
import mmap
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from llama_edu.errors import FormatError, MeasurementError
from llama_edu.experiments.observe.capped_tokens import How, Writing, write_under_cap
from llama_edu.experiments.observe.control_group import run_limited
from llama_edu.experiments.observe.own_process import bytes_from_disk
from llama_edu.experiments.observe.subjects import weight_file
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.mapped import MappedFile
from llama_edu.pages import linux
from llama_edu.pages.faults import process_faults
from llama_edu.pages.reclaim import may_ask_about
from llama_edu.pages.residency import evict
from llama_edu.table import Rows, lay_out, mib
from llama_edu.text import visible

#: The largest unit in which the kernel caches a file; a smaller range would split a unit or be left
#: in place.
_BLOCK_BYTES = 2 << 20
#: What a limited child needs in addition to the file: page tables, read buffers.
_SLACK_BYTES = 6 << 20

Strategy = Literal["plain mapping", "keep a part", "MADV_RANDOM"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Method = Literal["control group", "emulated"]


@dataclass(frozen=True)
class Pass(Rows):
    """Passes over all weights under a memory cap, without the first.

    Attributes:
        cap_fraction: memory allowed, divided by the file's size. strategy: how the file is read.
        elapsed_s: of the fastest. read_bytes: from the disk per pass, on average; None if unknown.
        major_faults: likewise; can be far fewer than pages, as one wait may bring in many.
        method: how the memory was limited.
    """

    also = ("passes_per_s",)

    cap_fraction: float
    strategy: Strategy
    elapsed_s: float
    read_bytes: int | None
    major_faults: float | None
    method: Method

    @property
    def passes_per_s(self) -> float:
        """How often the file was read through in a second."""
        return 1 / self.elapsed_s if self.elapsed_s else float("inf")


@dataclass(frozen=True)
class MemoryCap(Rows):
    """The cost of a pass, and of a token, for each memory limit.

    Attributes:
        passes: over the file. why_emulated: "" if nothing was emulated.
        written: tokens of the model in the file, mapped and read. why_not_written: "" if there are
            some.
    """

    rows_of = ("passes", "written")

    file_bytes: int
    passes: tuple[Pass, ...]
    why_emulated: str
    written: tuple[Writing, ...]
    why_not_written: str

    @classmethod
    def from_json(cls, text: str) -> MemoryCap:
        """What `llama-edu experiment memory-cap --json` printed, here or on another machine."""
        fields = json.loads(text)
        for name, kind in (("passes", Pass), ("written", Writing)):
            fields[name] = tuple(kind(**row) for row in fields[name])
        return cls(**fields)

    def __str__(self) -> str:
        rows = [
            (p.strategy, f"{p.cap_fraction:.0%}", f"{p.passes_per_s:,.1f}", mib(p.read_bytes),
             None if p.major_faults is None else round(p.major_faults), p.method)
            for p in self.passes
        ]  # fmt: skip
        heads = ("strategy", "memory", "passes/s", "MiB read per pass", "major faults", "method")
        lines = [
            f"A file of {self.file_bytes:,} bytes, read through again and again; memory in % of "
            f"it:",
            lay_out(heads, rows),
        ]
        if self.why_emulated:
            lines.append(f"Emulated with MADV_PAGEOUT: {self.why_emulated}.")
        written = [
            (w.how, f"{w.cap_fraction:.0%}", w.outcome,
             None if w.tokens_per_s is None else f"{w.tokens_per_s:,.2f}", mib(w.read_bytes),
             mib(w.own_bytes), None if w.first_s is None else f"{w.first_s:,.2f}")
            for w in self.written
        ]  # fmt: skip
        if written:
            columns = ("weights", "memory", "outcome", "tokens/s", "MiB read per token",
                       "own MiB", "load + first token s")  # fmt: skip
            lines += ["", "Tokens written under the same limits, in a control group:",
                      lay_out(columns, written, "<><>")]  # fmt: skip
        if self.why_not_written:
            lines.append(f"No tokens were written: {self.why_not_written}.")
        return "\n".join(lines)


def memory_cap(
    path: str | Path | None = None,
    *,
    n_bytes: int = 64 << 20,
    folder: str | Path | None = None,
    caps: tuple[float, ...] = (0.25, 0.5, 0.9, 1.2),
    n_passes: int = 3,
    n_tokens: int = 6,
    emulate: bool = False,
) -> MemoryCap:
    """Read a file again and again, and let the model in it write, under limits on memory.

    Args:
        path: the file, which this user must own; it is evicted from the page cache. By default a
            temporary one of `n_bytes` random bytes in `folder`, which is no model.
        caps: memory allowed, as fractions of the file; a limited process may use 6 MiB in addition,
            and when it writes, what the model needs beside its weights. So a cap of a file of few
            MiB says little.
        n_passes: passes per measurement; the first is not counted.
        n_tokens: written under each limit, mapped and read; 0 for none.
        emulate: do not try control groups.

    Raises MeasurementError where pages can neither be limited nor given back.
    """
    if n_passes < 2 or n_tokens == 1 or n_tokens < 0:
        raise MeasurementError(
            f"memory cap: {n_passes} passes and {n_tokens} tokens, expected at least 2, or 0 tokens"
        )
    passes = []
    why = "as requested" if emulate else ""
    with weight_file(path, n_bytes, folder) as file:
        for strategy in STRATEGIES:
            # waiting for each page separately is so slow that one cap is enough
            slow = strategy == "MADV_RANDOM"
            for cap in caps[:1] if slow else caps:
                n = 2 if slow else n_passes
                if not why:
                    try:
                        passes.append(_in_group(file, cap, strategy, n))
                        continue
                    except MeasurementError as error:
                        why = str(error)
                passes.append(_measure(file, cap, strategy, n, emulate=True))
        written, why_not = _written(file, caps, n_tokens, why)
        return MemoryCap(file.stat().st_size, tuple(passes), why, tuple(written), why_not)


def _written(
    file: Path, caps: tuple[float, ...], n_tokens: int, why_no_group: str
) -> tuple[list[Writing], str]:
    """Tokens under each cap, mapped and read; or none, and why."""
    if not n_tokens:
        return [], "none were asked for"
    if why_no_group:
        return [], why_no_group
    try:
        read_checkpoint(file)
    except FormatError:
        return [], f"{visible(file.name)} is no model"
    try:
        # what a mapped model needs beside its weights does not count as theirs
        beside = write_under_cap(file, None, "mmap", n_tokens).own_bytes or 0
        return [
            write_under_cap(file, cap, how, n_tokens, beside + _SLACK_BYTES)
            for how in get_args(How)
            for cap in caps
        ], ""
    except MeasurementError as error:
        return [], str(error)


def _in_group(file: Path, cap: float, strategy: Strategy, n_passes: int) -> Pass:
    """One measurement in a child process that the kernel limits."""
    _evict(file)  # cached pages stay charged to the process that read them first
    limit = int(cap * file.stat().st_size) + _SLACK_BYTES
    done = run_limited(limit, f"{__name__}:_child", [str(file), str(cap), strategy, str(n_passes)])
    if done.returncode:
        raise MeasurementError(f"a limited process ended with code {done.returncode}")
    return Pass(**json.loads(done.stdout))


def _child(
    join: Callable[[], None], file: str, cap: str, strategy: Strategy, n_passes: str
) -> None:
    """What the limited process does: join the group, measure, print."""
    join()
    measured = _measure(Path(file), float(cap), strategy, int(n_passes), emulate=False)
    print(json.dumps(measured.__dict__))


def _measure(file: Path, cap: float, strategy: Strategy, n_passes: int, *, emulate: bool) -> Pass:
    """Measure passes over the file by this process, all but the first."""
    if emulate:
        _evict(file)
    with MappedFile(file, private=True) as mapped:
        if emulate:
            _check_pageout(mapped)
        if strategy == "MADV_RANDOM":
            linux.advise(mapped.mmap, "MADV_RANDOM")
        budget = _Budget(mapped.mmap, int(cap * mapped.n_bytes), strategy, emulate)
        _pass(mapped.mmap, budget)
        n, times = n_passes - 1, []
        read, faults = bytes_from_disk(), process_faults()
        for _ in range(n):
            start = time.perf_counter()
            _pass(mapped.mmap, budget)
            times.append(time.perf_counter() - start)
        read_now, faults_now = bytes_from_disk(), process_faults()
    return Pass(
        cap, strategy, min(times),
        None if read is None or read_now is None else (read_now - read) // n,
        None if faults is None or faults_now is None else (faults_now - faults).major / n,
        "emulated" if emulate else "control group",
    )  # fmt: skip


def _pass(mapping: mmap.mmap, budget: _Budget) -> None:
    """Read every byte once, block by block, as a token does layer by layer."""
    data = np.frombuffer(mapping, np.uint8)
    for start in range(0, len(data), _BLOCK_BYTES):
        data[start : start + _BLOCK_BYTES].max()
        budget.used(start // _BLOCK_BYTES)


class _Budget:
    """Gives pages back after use: to keep a part, and to emulate a limit where there is none."""

    def __init__(self, mapping: mmap.mmap, n_bytes: int, strategy: Strategy, emulate: bool) -> None:
        self._mapping = mapping
        self._n_blocks = max(2, n_bytes // _BLOCK_BYTES)
        self._keep = strategy == "keep a part"
        self._emulate = emulate
        self._held: deque[int] = deque()

    def used(self, block: int) -> None:
        """Note that a block was read; give back what exceeds the budget."""
        if self._keep:
            if block >= self._n_blocks - 1:  # the rest needs space for one block
                self._give_back(block)
        elif self._emulate:
            if block in self._held:
                self._held.remove(block)
            self._held.append(block)
            if len(self._held) > self._n_blocks:
                self._give_back(self._held.popleft())

    def _give_back(self, block: int) -> None:
        start = block * _BLOCK_BYTES
        length = min(_BLOCK_BYTES, len(self._mapping) - start)
        linux.advise(self._mapping, "MADV_PAGEOUT", start, length)


def _evict(file: Path) -> None:
    left = evict(file).after.n_resident
    if left:
        raise MeasurementError(
            f"memory cap: {left:,} pages of {file.name} stay cached after an eviction, expected 0; "
            f"is it mapped elsewhere, or on a file system in memory?"
        )


def _check_pageout(mapped: MappedFile) -> None:
    """Raise MeasurementError unless MADV_PAGEOUT really gives pages back here."""
    if not may_ask_about(mapped.path):
        raise MeasurementError(
            f"memory cap: this user does not own {mapped.path.name}; its pages cannot be given back"
        )
    np.frombuffer(mapped.mmap, np.uint8, 1)[0].copy()
    linux.advise(mapped.mmap, "MADV_PAGEOUT")
    # pages that read-ahead cached beyond the touched one are not mapped, and may stay
    if linux.mincore_pages(mapped.address, mmap.PAGESIZE)[0]:
        raise MeasurementError(
            f"memory cap: a page of {mapped.path.name} stays in memory after MADV_PAGEOUT; use a "
            f"file on a disk, not on a file system in memory"
        )
