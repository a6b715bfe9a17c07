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
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.experiments.observe.control_group import control_group
from llama_edu.experiments.subjects import weight_file
from llama_edu.files.mapped import MappedFile
from llama_edu.pages import linux
from llama_edu.pages.faults import process_faults
from llama_edu.pages.reclaim import may_ask_about
from llama_edu.pages.residency import evict
from llama_edu.table import Rows, lay_out, mib

#: The largest unit in which the kernel caches a file; a smaller range would split a unit or be left
#: in place.
_BLOCK_BYTES = 2 << 20
#: What a limited child needs in addition to the file: page tables, read buffers.
_SLACK_BYTES = 6 << 20

Strategy = Literal["plain mapping", "keep a part", "MADV_RANDOM"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
Method = Literal["control group", "emulated"]


@dataclass(frozen=True)
class Token(Rows):
    """One pass over all weights under a memory cap, the average of all but the first pass.

    Attributes:
        cap_fraction: memory allowed, divided by the file's size. strategy: how the file is read.
        elapsed_s: per pass. read_bytes: from the disk per pass, None if unknown.
        major_faults: per pass, None if unknown; can be far fewer than pages, as one wait may bring
            in many.
        method: how the memory was limited.
    """

    also = ("tokens_per_s",)

    cap_fraction: float
    strategy: Strategy
    elapsed_s: float
    read_bytes: int | None
    major_faults: float | None
    method: Method

    @property
    def tokens_per_s(self) -> float:
        """Passes per second."""
        return 1 / self.elapsed_s if self.elapsed_s else float("inf")


@dataclass(frozen=True)
class MemoryCap(Rows):
    """The cost of a token for each memory limit; `why_emulated` is "" if nothing was emulated."""

    rows_of = ("tokens",)

    file_bytes: int
    tokens: tuple[Token, ...]
    why_emulated: str

    def __str__(self) -> str:
        rows = [
            (t.strategy, f"{t.cap_fraction:.0%}", f"{t.tokens_per_s:,.1f}", mib(t.read_bytes),
             None if t.major_faults is None else round(t.major_faults), t.method)
            for t in self.tokens
        ]  # fmt: skip
        heads = ("strategy", "memory", "tokens/s", "MiB read per token", "major faults", "method")
        lines = [
            f"Weights of {self.file_bytes:,} bytes, all read for each token; memory in % of them:",
            lay_out(heads, rows),
        ]
        if self.why_emulated:
            lines.append(f"Emulated with MADV_PAGEOUT: {self.why_emulated}.")
        return "\n".join(lines)


def memory_cap(
    path: str | Path | None = None,
    *,
    n_bytes: int = 64 << 20,
    folder: str | Path | None = None,
    caps: tuple[float, ...] = (0.25, 0.5, 0.9, 1.2),
    n_passes: int = 3,
    emulate: bool = False,
) -> MemoryCap:
    """Read a file again and again under several limits on memory.

    Args:
        path: the file, which this user must own; it is evicted from the page cache. By default a
            temporary one of `n_bytes` random bytes in `folder`.
        caps: memory allowed, as fractions of the file.
        n_passes: passes per measurement; the first is not counted.
        emulate: do not try control groups.

    Raises MeasurementError where pages can neither be limited nor given back.
    """
    if n_passes < 2:
        raise MeasurementError(f"memory cap: {n_passes} passes, expected at least 2")
    tokens = []
    why = "as requested" if emulate else ""
    with weight_file(path, n_bytes, folder) as file:
        for strategy in STRATEGIES:
            # waiting for each page separately is so slow that one cap is enough
            slow = strategy == "MADV_RANDOM"
            for cap in caps[:1] if slow else caps:
                n = 2 if slow else n_passes
                if not why:
                    try:
                        tokens.append(_in_group(file, cap, strategy, n))
                        continue
                    except MeasurementError as error:
                        why = str(error)
                tokens.append(_measure(file, cap, strategy, n, emulate=True))
        return MemoryCap(file.stat().st_size, tuple(tokens), why)


def _in_group(file: Path, cap: float, strategy: Strategy, n_passes: int) -> Token:
    """One measurement in a child process that the kernel limits."""
    _evict(file)  # cached pages stay charged to the process that read them first
    limit = int(cap * file.stat().st_size) + _SLACK_BYTES
    code = "import sys; from llama_edu.experiments.memory_cap import _child; _child(*sys.argv[1:])"
    package = str(Path(__file__).parents[2])
    with control_group(limit) as group:
        done = subprocess.run(
            [sys.executable, "-c", code, str(file), str(cap), strategy, str(n_passes), str(group)],
            capture_output=True, text=True, env=os.environ | {"PYTHONPATH": package},
        )  # fmt: skip
    if done.returncode:
        raise MeasurementError(f"a limited process ended with code {done.returncode}")
    return Token(**json.loads(done.stdout))


def _child(file: str, cap: str, strategy: Strategy, n_passes: str, group: str) -> None:
    """What the limited process does: join the group, measure, print."""
    # what was imported and allocated so far stays charged to the group of the parent
    Path(group, "cgroup.procs").write_text("0")
    token = _measure(Path(file), float(cap), strategy, int(n_passes), emulate=False)
    print(json.dumps(token.__dict__))


def _measure(file: Path, cap: float, strategy: Strategy, n_passes: int, *, emulate: bool) -> Token:
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
        start, read, faults = time.perf_counter(), _bytes_read(), process_faults()
        for _ in range(n_passes - 1):
            _pass(mapped.mmap, budget)
        n = n_passes - 1
        elapsed_s = (time.perf_counter() - start) / n
        read_now, faults_now = _bytes_read(), process_faults()
    return Token(
        cap, strategy, elapsed_s,
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


def _bytes_read() -> int | None:
    """Bytes that this process caused to be read from a disk. Source: proc(5), io, read_bytes."""
    try:
        lines = Path("/proc/self/io").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes")), None)
