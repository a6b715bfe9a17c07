"""First token, from nothing: a new process, without machine code on disk and then with it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.models import SMALL, random_model
from benchmarks.timing import table
from llama_edu.bench.other_programs import OtherProgramsWatch

#: Compiling takes long; the spread is given.
ROUNDS = 3

_PROGRAM = """
import sys
from llama_edu import load
from llama_edu.transformer.sampling import GREEDY
path, kernels, arithmetic = sys.argv[1:]
with load(path, kernels=kernels, arithmetic=arithmetic) as llama:
    for token in llama.generate_tokens([1, *range(5, 20)], 3, GREEDY):
        print(token.id, flush=True)
"""

_EMPTY, _FILLED = "empty", "filled by the process before"


def run(rounds: int = ROUNDS) -> str:
    """The table, as Markdown."""
    if find_spec("numba") is None:
        return "numba is missing from this run: nothing is compiled. `pip install numba` adds it."
    path, watch = random_model(SMALL, "q4_0"), OtherProgramsWatch()
    seconds: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for kernels, arithmetic in (("jit", "int8"), ("jit", "float32"), ("numpy", "float32")):
            with tempfile.TemporaryDirectory(prefix="llama-edu-machine-code-") as cache:
                for state in (_EMPTY, _FILLED) if kernels == "jit" else ("-",):
                    found = _seconds(path, kernels, arithmetic, cache)
                    seconds.setdefault((kernels, arithmetic, state), []).append(found)
                if kernels == "jit" and not any(Path(cache).rglob("*.nbc")):
                    raise RuntimeError("the machine code was not kept where NUMBA_CACHE_DIR says")
    head = ("kernels", "arithmetic", "machine code on disk", "first token", "second token")
    rows = [
        (*key, *(_spread(column) for column in zip(*found, strict=True)))
        for key, found in seconds.items()
    ]
    return (
        f"From starting Python to the first and to the second token after a prompt of 16; "
        f"{path.name}, in the page cache. Medians of {rounds} processes, with the least and the "
        f"most; {watch.seen()}.\n\n{table(head, rows)}"
    )


def _seconds(path: Path, kernels: str, arithmetic: str, cache: str) -> tuple[float, float]:
    """Seconds until a new process has written its first token, and its second."""
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(path), kernels, arithmetic],
        env=environment, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        moments = [time.perf_counter() - start for line in process.stdout if line.strip()]
    if process.returncode != 0 or len(moments) < 2:
        raise RuntimeError(
            f"the process ended with {process.returncode} after {len(moments)} tokens"
        )
    return moments[0], moments[1]


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
