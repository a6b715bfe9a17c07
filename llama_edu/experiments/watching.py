"""A text made under a lab, step by step, and its faults counted again on a plain mapping."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from llama_edu.llama import Llama, load
from llama_edu.pages.faults import FaultCounts, process_faults
from llama_edu.pages.lab import PageLab
from llama_edu.pages.touches import Step
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import prefill
from llama_edu.transformer.sampling import SamplingSettings


class Watching:
    """A text while it is made, each step under its own record. Iterating makes it.

    Attributes:
        text: prompt and new text so far. fed: the ids that each step read.
        reason: why it ended: "eos", "length", "context" or "stopped"; "" before.
    """

    def __init__(
        self,
        llama: Llama,
        lab: PageLab,
        prompt: str,
        n_tokens: int,
        settings: SamplingSettings,
        seed: int | None,
        stopping: threading.Event,
    ) -> None:
        self._generation = llama.generate_tokens(prompt, n_tokens, settings, seed=seed)
        self._lab, self._stopping = lab, stopping
        self._prompt = list(self._generation.tokens)
        self.prompt = self.text = prompt
        self.fed: list[list[int]] = []
        self.reason = ""

    def __iter__(self) -> Iterator[Step]:
        tokens = iter(self._generation)
        read, fed = self.prompt, self._prompt
        while not self._stopping.is_set():
            with self._lab.record(f"step {len(self.fed)}") as record:
                token = next(tokens, None)
            # the last call makes no token, and where the length was reached it computes nothing
            if token is not None or (record.pages is not None and record.pages.any()):
                self.fed.append(fed)
                self.text += token.text if token else ""
                yield Step(read, record)
            if token is None:
                self.reason = self._generation.reason
                return
            read, fed = token.text, [token.id]
        self._generation.close()
        self.reason = "stopped"


def plain_faults(
    path: Path, fed: Sequence[Sequence[int]], stopping: threading.Event
) -> dict[int, FaultCounts]:
    """Compute the same steps on a plain mapping, as any program would have it, and count.

    Args:
        fed: the token ids that each step reads.
        stopping: set by anyone, it ends the counting before the next step.
    Returns:
        number of steps -> faults of the whole process from the first to the end of that step; empty
        where the system does not count.
    """
    # the first steps twice, on a mapping each: the heap grows, whose faults are none of the file's
    _count_faults(path, fed[:2], stopping)
    return _count_faults(path, fed, stopping)


def _count_faults(
    path: Path, fed: Sequence[Sequence[int]], stopping: threading.Event
) -> dict[int, FaultCounts]:
    counts: dict[int, FaultCounts] = {}
    with PageLab.open(path, "faults") as lab, load(path, lab=lab) as llama:
        n_tokens = sum(len(ids) for ids in fed)
        cache = KVCache(llama.config, n_tokens)
        # memory of the cache's own would be counted as well
        for array in (cache.keys, cache.values):
            array.fill(np.float32(0))
        with lab.record("plain"):
            start = process_faults()
            for n_steps, ids in enumerate(fed, 1):
                if stopping.is_set():
                    break
                prefill(llama.model, ids, cache)
                now = process_faults()
                if now is not None and start is not None:
                    counts[n_steps] = now - start
    return counts
