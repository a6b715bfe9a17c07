"""The page faults of a text on a plain mapping: the number behind the reading of 2023."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llama_edu.loading import load
from llama_edu.pages.faults import FaultCounts, process_faults
from llama_edu.pages.lab import PageLab
from llama_edu.stated import Stated
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import prefill


def plain_faults(
    path: Path, steps: Sequence[Sequence[int]], stopping: threading.Event, stated: Stated
) -> dict[int, FaultCounts]:
    """Compute the same steps on a plain mapping, as an ordinary program does, and count faults.

    Args:
        steps: the token ids that each step reads.
        stopping: set by any thread, it ends the counting before the next step.
        stated: what replaced sizes of the file when the steps were made.
    Returns:
        number of steps -> faults of the whole process up to the end of that step; empty where the
        system does not count, and where there are no steps, as in a text stopped before its first.
    """
    if not steps:
        return {}
    # run the first steps once before, on another mapping: the heap grows then, and its faults are
    # not the file's
    _count_faults(path, steps[:2], stopping, stated)
    return _count_faults(path, steps, stopping, stated)


def _count_faults(
    path: Path, steps: Sequence[Sequence[int]], stopping: threading.Event, stated: Stated
) -> dict[int, FaultCounts]:
    counts: dict[int, FaultCounts] = {}
    with (
        PageLab.open(path, "faults") as lab,
        load(path, lab=lab, kernels="numpy", arithmetic="float32", **vars(stated)) as llama,
    ):
        n_tokens = sum(len(ids) for ids in steps)
        cache = KVCache(llama.config, n_tokens)
        # touch the cache's own memory now, or its faults would be counted too
        for array in (cache.keys, cache.values):
            array.fill(np.float32(0))
        with lab.record("plain"):
            start = process_faults()
            for n_steps, ids in enumerate(steps, 1):
                if stopping.is_set():
                    break
                prefill(llama.model, ids, cache)
                now = process_faults()
                if now is not None and start is not None:
                    counts[n_steps] = now - start
    return counts
