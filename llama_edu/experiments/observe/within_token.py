"""Inside one token: which pages the embedding, each layer and the output matrix need."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from llama_edu.loading import load
from llama_edu.pages.faults import FaultCounts, process_faults
from llama_edu.pages.lab import PageLab
from llama_edu.pages.touches import Step, Touches
from llama_edu.stated import Stated
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import prefill
from llama_edu.transformer.model import Model, forward


def within_token(
    path: str | Path,
    before: Sequence[int],
    tokens: Sequence[int],
    *,
    backend: str = "auto",
    stated: Stated | None = None,
    stopping: threading.Event | None = None,
) -> Touches:
    """One step of a text, part by part: "embedding", "layer 0" and so on, "output".

    The tokens before it are computed first and not observed. The faults of the parts are those of a
    plain mapping that was made just before, as if this were the first step of a program: on the
    mapping of a text that is being written, later tokens make hardly any.

    Args:
        path: one weight file. backend: "auto", or the name of one instrument.
        before: the ids before the step; may be empty. tokens: what the step reads.
        stated: what replaces sizes of the file.
        stopping: set by any thread, it ends the observation after the pages; the faults are missing
            then.
    Returns:
        Touches whose steps are the parts.
    Raises:
        MeasurementError: weights in several files, or a named instrument that is refused here.
        RequestError: no tokens, or ids that the model does not have.
    """
    stated = stated or Stated()
    touches = Touches(noun="part")
    with ExitStack() as stack:
        lab = stack.enter_context(PageLab.open(path, backend))
        opened = load(path, lab=lab, kernels="numpy", arithmetic="float32", **vars(stated))
        llama = stack.enter_context(opened)
        cache = KVCache(llama.config, len(before) + len(tokens))
        if before:
            prefill(llama.model, before, cache)
        for step in part_steps(lab, llama.model, tokens, cache):
            touches.add(step)
    for _ in range(2):  # the heap grows in the first run, and its faults are not the file's
        if stopping is None or not stopping.is_set():
            cache.truncate(len(before))
            touches.plain_faults = _part_faults(path, tokens, cache, stated)
    return touches


def in_parts(
    model: Model, tokens: Sequence[int], cache: KVCache, ended: Callable[[str], None]
) -> None:
    """Compute tokens, and call `ended` with the name of each part when it is complete."""
    parts = {"embedding": "embedding"} | {
        f"layers.{layer}.out": f"layer {layer}" for layer in range(model.config.n_layers)
    }

    def see(name: str, x: np.ndarray) -> np.ndarray:
        if name in parts:
            ended(parts[name])
        return x

    forward(model, tokens, cache, last_only=True, tap=see)
    ended("output")


def part_steps(lab: PageLab, model: Model, tokens: Sequence[int], cache: KVCache) -> list[Step]:
    """A step of Touches for each part of a computation, observed by itself.

    Args:
        lab: maps the file that the model was loaded from. cache: holds the positions before.
    """
    steps: list[Step] = []
    with ExitStack() as stack:
        record = stack.enter_context(lab.record("part 0"))

        def ended(name: str) -> None:
            nonlocal record
            stack.close()
            steps.append(Step(name, record))
            record = stack.enter_context(lab.record(f"part {len(steps)}"))

        in_parts(model, tokens, cache, ended)
    return steps


def _part_faults(
    path: str | Path, tokens: Sequence[int], cache: KVCache, stated: Stated
) -> dict[int, FaultCounts]:
    """Number of parts -> faults of the whole process up to the end of that part."""
    counts: dict[int, FaultCounts] = {}
    with (
        PageLab.open(path, "faults") as lab,
        load(path, lab=lab, kernels="numpy", arithmetic="float32", **vars(stated)) as llama,
        lab.record("plain"),
    ):
        start = process_faults()

        def ended(_: str) -> None:
            now = process_faults()
            if now is not None and start is not None:
                counts[len(counts) + 1] = now - start

        in_parts(llama.model, tokens, cache, ended)
    return counts
