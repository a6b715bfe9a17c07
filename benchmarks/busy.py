"""A busy machine: decode while other programs want the processor, beside one thread and llama.cpp.

A program that waits for all its threads waits for the one whose core another program has. So more
threads can be slower than one, and take much more CPU time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from benchmarks.models import SMALL, Missing, random_model, smollm2
from benchmarks.peers import Peer, llama_cpp_or_why
from benchmarks.speed.contenders import Ours
from benchmarks.speed.race import PROMPT
from benchmarks.speed.results import N_DECODE
from benchmarks.timing import ROUNDS, Timing, interleave, show_ratio, table
from llama_edu.bench.other_programs import OtherProgramsWatch
from llama_edu.matmul.arithmetic import Arithmetic
from llama_edu.matmul.choice import Kernels
from llama_edu.matmul.cores import cores

#: How many programs run beside.
BUSY = (0, 1, 2)
LLAMA_CPP, LLAMA_CPP_ONE = "llama.cpp, all cores", "llama.cpp, 1 thread"

#: Keeps a core busy until it is killed, or its parent has ended.
_PROGRAM = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    sum(range(100_000))
"""


def run(rounds: int = ROUNDS) -> str:
    """A table for each file, as Markdown."""
    n_cores = cores().usable
    parts = [
        f"{n_cores} cores; {N_DECODE} single tokens after a prompt of {len(PROMPT)}. The busy "
        f"processes compute in a loop and read no memory. {llama_cpp_or_why()[1]}"
    ]
    for title, find in (
        ("Random model of 134M, Q4_0", partial(random_model, SMALL, "q4_0")),
        ("SmolLM2-135M-Instruct, Q4_1", smollm2),
    ):
        try:
            path = find()
        except Missing as missing:
            parts.append(f"{title}: left out. {missing}")
            continue
        parts.append(f"### {title}\n\n{_measure(path, rounds)}")
    return "\n\n".join(parts)


@contextmanager
def busy_processes(n: int) -> Iterator[None]:
    """A block beside which n other processes each want a core; they have ended after it."""
    processes = []
    try:
        for _ in range(n):
            processes.append(
                subprocess.Popen([sys.executable, "-S", "-c", _PROGRAM, str(os.getpid())])
            )
        if processes:
            time.sleep(0.3)  # until they have started
        yield
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()


def _measure(path: Path, rounds: int) -> str:
    rows, loads = [], []
    with ExitStack() as opened:
        contenders = _open(path, opened)
        for one in contenders.values():
            one.prefill(PROMPT)
        decodes = {name: partial(one.decode, N_DECODE) for name, one in contenders.items()}
        for n in BUSY:
            watch = OtherProgramsWatch()
            with busy_processes(n):
                rows += rows_of(n, interleave(decodes, rounds, warm_up=True))
                used = watch.seen().cores_used  # while the busy ones are still there
            loads.append(f"{n}: {'unknown' if used is None else f'{used:.2f}'}")
    head = ("busy processes", "", "tokens/s", "CPU ms per token", "all cores / 1 thread",
            "this / llama.cpp, all cores")  # fmt: skip
    return (
        f"{table(head, rows)}\n\nCores used by other programs, the busy ones among them, beside "
        f"{'; '.join(loads)}."
    )


def _open(path: Path, opened: ExitStack) -> dict[str, Peer]:
    """Name -> contender; each of ours is followed by itself with one thread."""
    n_positions = len(PROMPT) + N_DECODE + 1
    contenders: dict[str, Peer] = {}
    for name, (kernels, arithmetic) in _ways().items():
        for words, threads in (("all cores", None), ("1 thread", 1)):
            one = Ours(path, n_positions, threads, kernels=kernels, arithmetic=arithmetic)
            opened.callback(one.close)
            contenders[f"{name}, {words}"] = one
    llama_cpp, _ = llama_cpp_or_why()
    if llama_cpp is not None:
        for name, threads in ((LLAMA_CPP, cores().usable), (LLAMA_CPP_ONE, 1)):
            peer = llama_cpp(path, n_positions, threads)
            opened.callback(peer.close)
            contenders[name] = peer
    return contenders


def _ways() -> dict[str, tuple[Kernels, Arithmetic]]:
    if find_spec("numba") is None:
        return {"numpy": ("numpy", "float32")}
    return {"jit int8": ("jit", "int8"), "jit float32": ("jit", "float32")}


def rows_of(n_busy: int, times: Mapping[str, Timing]) -> list[tuple[str, ...]]:
    """A row for each contender; names end in ", all cores" or ", 1 thread"."""
    rows = []
    for name, timing in times.items():
        kind, _, threads = name.rpartition(", ")
        one = times.get(f"{kind}, 1 thread")
        to_one = to_peer = ""
        if threads == "all cores" and one is not None:
            to_one = show_ratio(timing.ratio_to(one))
        if kind != "llama.cpp" and LLAMA_CPP in times:
            to_peer = show_ratio(timing.ratio_to(times[LLAMA_CPP]))
        rows.append((
            f"{n_busy}", name, f"{N_DECODE / timing.median_s:.1f}",
            f"{1e3 * timing.median_cpu_s / N_DECODE:.2f}", to_one, to_peer,
        ))  # fmt: skip
    return rows
