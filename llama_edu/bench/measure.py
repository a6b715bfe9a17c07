"""Load, prefill and decode, timed for each choice of kernels, arithmetic and threads.

The choices take turns, A B C A B C ..., so that another program that runs for a while slows down
all of them. The first run of each test is not counted: it compiles, and fetches the pages. Before
each counted run, single tokens are computed for a moment: they bring the processor to full speed
while the idle threads of the choice before go to sleep.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu.bench.other_programs import OtherProgramsWatch
from llama_edu.bench.report import Report, Row, Subject
from llama_edu.bench.stopwatch import Spent, Stopwatch
from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.llama import Llama
from llama_edu.loading import load
from llama_edu.matmul.arithmetic import Arithmetic, check_arithmetic
from llama_edu.matmul.choice import Kernels, check_kernels
from llama_edu.matmul.threads import check_threads
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import prefill, score_next

#: Positions of the prompt, single tokens and repetitions, unless others are asked for.
N_PROMPT, N_TOKENS, REPETITIONS = 128, 32, 5

#: How long single tokens are computed before each counted run.
SETTLE_S = 0.15


def bench(
    path: str | os.PathLike[str],
    *,
    kernels: Sequence[Kernels] | None = None,
    arithmetic: Sequence[Arithmetic] | None = None,
    threads: Sequence[int] | None = None,
    n_prompt: int = N_PROMPT,
    n_tokens: int = N_TOKENS,
    repetitions: int = REPETITIONS,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> Report:
    """Measure every combination; Ctrl+C ends it with what is done.

    Args:
        path: as for `load`.
        kernels: None: "numpy", and "jit" where it can be used.
        arithmetic: None: what `load` takes by itself.
        threads: None: one per core that this process may run on.
        n_prompt: positions of the prompt; 0 leaves this test out.
        n_tokens: single tokens from an empty context on; 0 leaves this test out.
        repetitions: that are counted.
        progress: called with (runs done, runs in all).
        options: further arguments of `load`, such as mmap and context.
    Raises:
        RequestError: an impossible number, kernels or arithmetic that cannot be used, or more
            positions than the model's context.
        KeyboardInterrupt: it came before anything was counted.
    """
    began, watch = time.perf_counter(), OtherProgramsWatch()
    choices = _choices(kernels, arithmetic, threads)
    if repetitions < 1:
        raise RequestError(f"repetitions is {repetitions}, expected 1 or more")
    notes: list[str] = []
    contenders: list[_Contender] = []
    with ExitStack() as opened:
        for choice in choices:
            open_again = partial(load, path, **choice, **options)
            try:
                llama = opened.enter_context(open_again())
            except RequestError as error:
                if kernels is not None or choice["kernels"] != "jit":
                    raise
                notes = [f"Left out: {error}."]
                continue
            tests = _tests(llama.config, n_prompt, n_tokens)
            contenders.append(_Contender(llama, open_again, max(1, *tests.values())))
        rows = _measure(contenders, tests, repetitions, progress)
        subject = Subject.of(Path(path).name or os.fspath(path), contenders[0].llama.checkpoint)
    n_done, n_asked = sum(len(row.spent) for row in rows), len(contenders) * len(tests)
    return Report(
        subject=subject,
        n_prompt=n_prompt,
        n_tokens=n_tokens,
        repetitions=repetitions,
        rows=rows,
        others=watch.seen(),
        notes=tuple(notes),
        cut_short=n_done < n_asked * repetitions,
        elapsed_s=time.perf_counter() - began,
    )


def _choices(
    kernels: Sequence[Kernels] | None,
    arithmetic: Sequence[Arithmetic] | None,
    threads: Sequence[int] | None,
) -> list[dict[str, Any]]:
    """Arguments of load() for every combination, each once; all are checked before the first."""
    for name in kernels or ():
        check_kernels(name)
    for kind in arithmetic or ():
        check_arithmetic(kind, ())
    for n in threads or ():
        check_threads(n)
    arguments: list[dict[str, Any]] = [{}]  # what load() takes by itself
    if arithmetic is not None:
        arguments = [{"arithmetic": kind} for kind in dict.fromkeys(arithmetic)]
    chosen = product(
        dict.fromkeys(kernels or ("numpy", "jit")), arguments, dict.fromkeys(threads or (None,))
    )
    return [{"kernels": name, **more, "threads": n} for name, more, n in chosen]


def _tests(config: ModelConfig, n_prompt: int, n_tokens: int) -> dict[str, int]:
    """Name of each test -> how many tokens it computes; 0 for loading."""
    for what, n in (("n_prompt", n_prompt), ("n_tokens", n_tokens)):
        if not 0 <= n <= config.max_seq_len:
            raise RequestError(
                f"{what} is {n:,}, expected 0 to {config.max_seq_len:,}, the model's context"
            )
    tests = {"load": 0}
    if n_prompt:
        tests[f"pp{n_prompt}"] = n_prompt
    if n_tokens:
        tests[f"tg{n_tokens}"] = n_tokens
    return tests


@dataclass
class _Contender:
    """One choice: an open model, how it is opened again, and a cache of its own."""

    llama: Llama
    open_again: Callable[[], Llama]
    n_positions: int
    tokens: list[int] = field(init=False)
    cache: KVCache = field(init=False)

    def __post_init__(self) -> None:
        config = self.llama.config
        rng = np.random.default_rng(0)
        self.tokens = rng.integers(0, config.vocab_size, self.n_positions).tolist()
        self.cache = KVCache(config, self.n_positions)

    def run(self, test: str, n_tokens: int) -> Spent:
        """One test, from an empty context."""
        if test == "load":
            return self._load()
        self.cache.truncate(0)
        stopwatch = Stopwatch()
        if test.startswith("pp"):
            prefill(self.llama.model, self.tokens[:n_tokens], self.cache)
        else:
            for token in self.tokens[:n_tokens]:
                score_next(self.llama.model, [token], self.cache)
        return stopwatch.spent()

    def settle(self) -> None:
        """Compute single tokens for a while."""
        end = time.perf_counter() + SETTLE_S
        while time.perf_counter() < end:
            self.cache.truncate(0)
            for token in self.tokens:
                score_next(self.llama.model, [token], self.cache)
                if time.perf_counter() >= end:
                    break

    def _load(self) -> Spent:
        stopwatch = Stopwatch()
        llama = self.open_again()
        spent = stopwatch.spent()
        llama.close()
        return spent


def _measure(
    contenders: Sequence[_Contender],
    tests: dict[str, int],
    repetitions: int,
    progress: Callable[[int, int], object] | None,
) -> tuple[Row, ...]:
    """Every test of every contender, in turn; after an interruption, the rows with a repetition."""
    spent: dict[tuple[int, str], list[Spent]] = {}
    runs = list(product(range(repetitions + 1), enumerate(contenders), tests.items()))
    with suppress(KeyboardInterrupt):
        for n_done, (repetition, (index, contender), (test, n_tokens)) in enumerate(runs):
            if repetition > 0:
                contender.settle()
            found = contender.run(test, n_tokens)
            if repetition > 0:
                spent.setdefault((index, test), []).append(found)
            if progress:
                progress(n_done + 1, len(runs))
    if not spent:
        raise KeyboardInterrupt
    return tuple(
        Row(llama.kernels, llama.arithmetic, llama.model.threads, test, n, tuple(spent[i, test]))
        for i, llama in enumerate(contender.llama for contender in contenders)
        for test, n in tests.items()
        if (i, test) in spent
    )
