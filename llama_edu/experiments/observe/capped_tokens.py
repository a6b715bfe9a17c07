"""Real tokens under a memory cap: a child process loads a model, mapped or read, and writes.

A model that is mapped goes on with fewer pages than it has and waits for the disk; one that is read
into private memory has nothing that the system could drop, and is killed where it does not fit.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.experiments.observe.control_group import run_limited
from llama_edu.experiments.observe.own_process import bytes_from_disk, memory_without_file
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.pages.residency import evict
from llama_edu.table import Rows
from llama_edu.tokenizer.prompt import prompt_ids
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import prefill

How = Literal["mmap", "read()"]
_PROMPT = "Once upon a time"


@dataclass(frozen=True)
class Writing(Rows):
    """Tokens of one model under one memory cap.

    Attributes:
        how: the weights were loaded. cap_fraction: memory allowed, divided by the file's size.
        first_s: loading, reading the prompt and choosing the first token; None if it never came.
        tokens_per_s: of the median token after the first. read_bytes: from the disk for each.
            Both are None where there were none, the latter also if unknown.
        own_bytes: memory that no file backs, taken for loading and writing; None if unknown.
        outcome: "written", or "killed: out of memory".
    """

    how: How
    cap_fraction: float
    first_s: float | None
    tokens_per_s: float | None
    read_bytes: int | None
    own_bytes: int | None
    outcome: str


def write_under_cap(
    file: Path, cap: float | None, how: How, n_tokens: int, other_bytes: int = 0
) -> Writing:
    """Load a model in a process that may use `cap` times its file's size, and write.

    Args:
        cap: None for no limit, which the result calls infinite. n_tokens: at least 2.
        other_bytes: what the process may use in addition.
    Raises:
        MeasurementError: no control group can be made, or the process failed in another way.
    """
    evict(file)  # cached pages stay charged to the process that read them first
    limit = None if cap is None else int(cap * file.stat().st_size) + other_bytes
    done = run_limited(limit, f"{__name__}:_child", [str(file), how, str(n_tokens)])
    fraction = float("inf") if cap is None else cap
    if done.returncode == -signal.SIGKILL and limit is not None:
        return Writing(how, fraction, None, None, None, None, "killed: out of memory")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise MeasurementError(f"a limited process ended with code {done.returncode}: {last}")
    first_s, tokens_per_s, read_bytes, own_bytes = json.loads(done.stdout)
    return Writing(how, fraction, first_s, tokens_per_s, read_bytes, own_bytes, "written")


def _child(join: Callable[[], None], file: str, how: How, n_tokens: str) -> None:
    """What the limited process does: practice outside the group, join it, write, print."""
    # code, heap and caches that every text needs stay charged to the group of the parent
    with load(file) as practice:
        list(_written(practice, int(n_tokens)))
    evict(Path(file))
    join()
    times, read, before = [time.perf_counter()], None, memory_without_file()
    with load(file, mmap=how == "mmap") as llama:
        for _ in _written(llama, int(n_tokens)):
            times.append(time.perf_counter())
            read = bytes_from_disk() if read is None else read
        read_now, now = bytes_from_disk(), memory_without_file()
    first_s, *later_s = np.diff(times).tolist()
    more = None if read is None or read_now is None else (read_now - read) // len(later_s)
    own = None if before is None or now is None else max(0, now - before)
    print(json.dumps([first_s, 1 / float(np.median(later_s)), more, own]))


def _written(llama: Llama, n_tokens: int) -> Iterator[int]:
    """The likeliest tokens after a short prompt, whatever they are."""
    ids = prompt_ids(llama.tokenizer, _PROMPT)
    cache = KVCache(llama.config, len(ids) + n_tokens)
    for _ in range(n_tokens):
        ids = [int(prefill(llama.model, ids, cache).argmax())]
        yield ids[0]
