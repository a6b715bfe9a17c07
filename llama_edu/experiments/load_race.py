"""Ways to load a file, timed to the end: open, first complete pass, second pass, and memory.

A mapping "loads" at once because it loads nothing; the file is read when the weights are used. The
honest comparison is opening plus the first pass over all bytes, which is what the first token of a
dense model does. A second pass shows the steady state.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.experiments.observe.own_process import memory_without_file
from llama_edu.experiments.observe.subjects import read_through, weight_file
from llama_edu.pages import linux
from llama_edu.pages.residency import evict, residency
from llama_edu.table import Rows, lay_out, mib, milliseconds

_STEP_BYTES = 1 << 20


#: The page cache before a lap: it holds nothing of the file, or all of it.
State = Literal["cold", "warm"]


@dataclass(frozen=True)
class Lap(Rows):
    """One way of loading, from one state of the page cache: the best of several laps.

    Attributes:
        way: of loading. state: of the page cache.
        open_s: until there was an array. first_s: the first pass over it; of the lap in which the
            two together took least. second_s: the next pass, the fastest of all laps.
            slowest_second_s: the slowest, which tells how far a single lap can be believed.
        anonymous_bytes: private memory taken, without the page cache; None if unknown.
        cached_bytes: bytes of the file in the page cache afterwards; None if unknown.
    """

    way: str
    state: State
    open_s: float
    first_s: float
    second_s: float
    slowest_second_s: float
    anonymous_bytes: int | None
    cached_bytes: int | None


@dataclass(frozen=True)
class LoadRace(Rows):
    """All laps; `open_s` alone is misleading, so the table adds the first pass to it."""

    rows_of = ("laps",)

    file_bytes: int
    laps: tuple[Lap, ...]
    n_laps: int

    def __str__(self) -> str:
        rows = [
            (lap.way, lap.state, milliseconds(lap.open_s), milliseconds(lap.open_s + lap.first_s),
             f"{lap.second_s * 1e3:,.1f} to {lap.slowest_second_s * 1e3:,.1f}",
             mib(lap.anonymous_bytes), mib(lap.cached_bytes))
            for lap in self.laps
        ]  # fmt: skip
        heads = ("way", "cache", "open ms", "open + 1st pass", "2nd pass", "private MiB",
                 "cached MiB")  # fmt: skip
        return (
            f"A file of {self.file_bytes:,} bytes, loaded and read through; best of "
            f"{self.n_laps}:\n" + lay_out(heads, rows, "<<>")
        )


def load_race(
    path: str | Path | None = None,
    *,
    n_bytes: int = 64 << 20,
    folder: str | Path | None = None,
    n_laps: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> LoadRace:
    """Load a file in every way, cold (where it can be evicted) and warm.

    Args:
        path: the file; it is evicted from the page cache. By default a temporary one of `n_bytes`
            random bytes in `folder`.
        n_laps: how often each way runs; the best counts. clock: returns seconds.
    """
    if n_laps < 1:
        raise MeasurementError(f"load race: {n_laps} laps, expected at least 1")
    laps = []
    with weight_file(path, n_bytes, folder) as file:
        file_bytes = file.stat().st_size
        for state in get_args(State):
            for way, load in _WAYS.items():
                again = []
                for _ in range(n_laps):
                    if state == "cold" and not _is_evicted(file):
                        break
                    if state == "warm":
                        read_through(file)
                    lap = _run(way, state, file, load, clock)
                    if lap is None:
                        break
                    again.append(lap)
                if again:
                    laps.append(_best(again))
    return LoadRace(file_bytes, tuple(laps), n_laps)


def _best(laps: list[Lap]) -> Lap:
    """The lap that was through the file first, with the fastest and the slowest second pass."""
    seconds = [lap.second_s for lap in laps]
    best = min(laps, key=lambda lap: lap.open_s + lap.first_s)
    return replace(best, second_s=min(seconds), slowest_second_s=max(seconds))


def _run(
    way: str, state: State, file: Path, load: Callable[[Path], np.ndarray],
    clock: Callable[[], float],
) -> Lap | None:  # fmt: skip
    """One lap, or None where this system does not support the way."""
    linux.give_back_freed_memory()  # an array in freed memory would seem to take none
    before = memory_without_file()
    start = clock()
    try:
        data = load(file)
    except (AttributeError, OSError):
        return None
    opened = clock()
    _pass(data)
    first = clock()
    _pass(data)
    second = clock()
    after = memory_without_file()
    try:
        found = residency(file)
        cached = found.n_resident * found.page_size
    except MeasurementError:
        cached = None
    taken = None if before is None or after is None else max(0, after - before)
    return Lap(
        way, state, opened - start, first - opened, second - first, second - first,
        taken, cached,
    )  # fmt: skip


def _pass(data: np.ndarray) -> int:
    """Read every byte once, as one token of a dense model does."""
    words = data[: len(data) // 8 * 8].view(np.uint64)
    return int(np.bitwise_xor.reduce(words))


def _map(path: Path, **options: int) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, **(options or {"access": mmap.ACCESS_READ}))


def _mapped(path: Path) -> np.ndarray:
    return np.frombuffer(_map(path), np.uint8)


def _populated(path: Path) -> np.ndarray:
    flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
    return np.frombuffer(_map(path, flags=flags, prot=mmap.PROT_READ), np.uint8)


def _willneed(path: Path) -> np.ndarray:
    mapping = _map(path)
    for start in range(0, len(mapping), _STEP_BYTES):
        mapping.madvise(mmap.MADV_WILLNEED, start, min(_STEP_BYTES, len(mapping) - start))
    return np.frombuffer(mapping, np.uint8)


def _read(path: Path) -> np.ndarray:
    return np.frombuffer(path.read_bytes(), np.uint8)


def _readinto(path: Path) -> np.ndarray:
    data = np.empty(path.stat().st_size, np.uint8)
    with path.open("rb") as file:
        if file.readinto(data.data) != len(data):
            raise OSError(f"{path}: ended early")
    return data


_WAYS: dict[str, Callable[[Path], np.ndarray]] = {
    "mmap": _mapped,
    "mmap, populated": _populated,
    "mmap, WILLNEED in steps": _willneed,
    "np.memmap": lambda path: np.memmap(path, np.uint8, "r"),
    "read()": _read,
    "readinto(np.empty)": _readinto,
    "np.fromfile": lambda path: np.fromfile(path, np.uint8),
}


def _is_evicted(file: Path) -> bool:
    try:
        return evict(file).after.n_resident == 0
    except MeasurementError:
        return False
