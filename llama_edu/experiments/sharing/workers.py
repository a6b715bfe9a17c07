"""Workers of a real engine with one model: what each takes, and how long the next one opens.

Each worker gets one piece, and they meet in it: first each computes once, so that libraries and
compiled code are there; then they open the model one after the other; and when all have computed
with it, all look at their own memory while the others still hold theirs.

The meeting place is a folder of this machine, so that any engine will do whose processes see it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.experiments.observe.subjects import model_file
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.pages.residency import evict, residency
from llama_edu.quality.losses import token_nats
from llama_edu.table import Rows
from llama_edu.text import one_line
from llama_edu.workers.opened import WeightsFile
from llama_edu.workers.pieces import MapFunction, each_done
from llama_edu.workers.pool import check_workers, process_map

How = Literal["mmap", "read()"]

#: Tokens that each worker scores: every layer and the output are multiplied by all of them.
_N_TOKENS = 17


@dataclass(frozen=True)
class Worker(Rows):
    """One worker, while all of its group had the model open and had computed with it.

    Attributes:
        how: the model was loaded. number: in the order of opening, from 0.
        open_s: load(). first_s: the first computation, which needs every weight but most rows of
            the embedding.
        cached_bytes: of the file in the page cache before it was opened; None if unknown.
        rss_bytes, pss_bytes: of the whole process, Python and its libraries as well.
        file_rss_bytes, file_pss_bytes: of the mapping of the file alone, 0 where it was read.
        private_bytes: that no file backs, so that no other process can have them.
    """

    how: How
    number: int
    open_s: float
    first_s: float
    cached_bytes: int | None
    rss_bytes: int
    pss_bytes: int
    file_rss_bytes: int
    file_pss_bytes: int
    private_bytes: int


@dataclass(frozen=True)
class _Seat:
    """A worker's piece: where the others are, and what it opens."""

    number: int
    n_workers: int
    how: How
    file: WeightsFile
    folder: str
    patience_s: float


def measure_workers(
    path: str | Path | None,
    workers: int,
    map: MapFunction | None = None,
    patience_s: float = 120,
) -> tuple[int, tuple[Worker, ...]]:
    """The bytes of the file, and each worker, mapped and then read.

    Args:
        path: a model; None takes the bundled one.
        workers: processes of the engine behind `map`, each of which takes one piece at a time.
        map: None is a ProcessPoolExecutor.
        patience_s: how long a worker waits until the next one comes.
    Raises:
        RequestError: an impossible number of workers; a map that is none.
        MeasurementError: fewer processes took part than there are pieces.
        EngineError: the engine ended.
    """
    check_workers(workers)
    with model_file(path) as model:
        file = WeightsFile.at(model, threads=1)
        n_bytes = sum(identity.n_bytes for _, identity in file.files)
        if map is not None:
            return n_bytes, _groups(file, workers, map, patience_s)
        with process_map(workers) as own:
            return n_bytes, _groups(file, workers, own, patience_s)


def _groups(
    file: WeightsFile, workers: int, map: MapFunction, patience_s: float
) -> tuple[Worker, ...]:
    found: list[Worker] = []
    for how in get_args(How):
        with tempfile.TemporaryDirectory(prefix="llama_edu_") as folder:
            seats = [_Seat(n, workers, how, file, folder, patience_s) for n in range(workers)]
            group = sorted(each_done(_sit, seats, map), key=lambda done: done[0])
            found += [worker for _, worker in group]
    return tuple(found)


def _sit(seat: _Seat) -> Worker:
    """What one worker does."""
    folder = Path(seat.folder)
    try:
        return _open_in_turn(seat, folder)
    except BaseException as error:
        if not (folder / "failed").exists():  # the others stop waiting for this one
            _say(folder, "failed", one_line(f"{type(error).__name__}: {error}", 300))
        raise


def _open_in_turn(seat: _Seat, folder: Path) -> Worker:
    everybody = range(seat.n_workers)
    _compute(_load(seat, mmap=True)).close()
    _say(folder, f"here-{seat.number}", str(os.getpid()))
    _wait(seat, folder, [f"here-{n}" for n in everybody])
    pids = {(folder / f"here-{n}").read_text() for n in everybody}
    if len(pids) < seat.n_workers:
        raise MeasurementError(
            f"sharing: found {len(pids)} of {seat.n_workers} processes, as some took two pieces, "
            f"expected a process for each; give the engine workers of one thread"
        )
    _wait(seat, folder, [f"open-{n}" for n in range(seat.number)])
    paths = [Path(path) for path, _ in seat.file.files]
    if seat.number == 0:
        _evict(paths)
    cached = _cached_bytes(paths)
    start = time.perf_counter()
    llama = _load(seat, mmap=seat.how == "mmap")
    opened = time.perf_counter()
    _compute(llama)
    first = time.perf_counter()
    try:
        _say(folder, f"open-{seat.number}")
        _wait(seat, folder, [f"open-{n}" for n in everybody])
        memory = _own_memory({identity.inode for _, identity in seat.file.files})
        _say(folder, f"seen-{seat.number}")
        _wait(seat, folder, [f"seen-{n}" for n in everybody])
    finally:
        llama.close()
    return Worker(seat.how, seat.number, opened - start, first - opened, cached, *memory)


def _load(seat: _Seat, *, mmap: bool) -> Llama:
    return load(seat.file.path, mmap, threads=1, arithmetic="float32")


def _compute(llama: Llama) -> Llama:
    ids = np.arange(_N_TOKENS) % llama.config.vocab_size
    token_nats(llama.model, [ids[: llama.config.max_seq_len].tolist()])
    return llama


def _evict(paths: Sequence[Path]) -> None:
    try:
        for path in paths:
            evict(path)
    except MeasurementError:
        pass  # what is cached is measured next, and reported


def _cached_bytes(paths: Sequence[Path]) -> int | None:
    try:
        found = [residency(path) for path in paths]
    except MeasurementError:
        return None
    return sum(min(one.n_resident * one.page_size, one.file_bytes) for one in found)


def _own_memory(inodes: set[int]) -> tuple[int, int, int, int, int]:
    """Rss and Pss in all, Rss and Pss of mappings of these files, and anonymous memory, in bytes.

    Source: proc(5), smaps.
    """
    found = {"Rss": 0, "Pss": 0, "Anonymous": 0}
    of_file = dict(found)
    inode = 0
    with open("/proc/self/smaps") as lines:  # noqa: PTH123 - no file of the reader's
        for line in lines:
            first, *others = line.split()
            if not first.endswith(":"):
                inode = int(others[3])
            elif first[:-1] in found:
                n_bytes = int(others[0]) * 1024
                found[first[:-1]] += n_bytes
                of_file[first[:-1]] += n_bytes if inode in inodes else 0
    return found["Rss"], found["Pss"], of_file["Rss"], of_file["Pss"], found["Anonymous"]


def _say(folder: Path, name: str, text: str = "") -> None:
    """Put a note into the folder, whole."""
    draft = folder / f".{name}"
    draft.write_text(text)
    draft.replace(folder / name)


def _wait(seat: _Seat, folder: Path, names: Sequence[str]) -> None:
    """Until all notes are there; as long as new ones come, that may last."""
    known, since = -1, time.monotonic()
    while not all(map(os.path.exists, (folder / name for name in names))):
        if (folder / "failed").exists():
            why = (folder / "failed").read_text()
            raise MeasurementError(f"sharing: another worker failed ({why}), expected all to open")
        n_notes = sum(1 for _ in folder.iterdir())
        if n_notes != known:
            known, since = n_notes, time.monotonic()
        elif time.monotonic() - since > seat.patience_s:
            n_here = sum(1 for _ in folder.glob("here-*"))
            raise MeasurementError(
                f"sharing: {n_here} of {seat.n_workers} workers took part and waited "
                f"{seat.patience_s:.0f} s for the others, expected {seat.n_workers} processes at "
                f"the same time; is that how many the engine has?"
            )
        time.sleep(0.01)
