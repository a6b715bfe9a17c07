"""Loading: what mmap saves, and what it only defers.

Time to open, time to the first token, and steady state are given together, because a mapped file is
ready before its weights are read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import llama_edu
from benchmarks.models import SMALL, bundled_model, random_model
from benchmarks.peers import llama_cpp_or_why
from benchmarks.timing import ROUNDS, interleave, show_ratio, table
from llama_edu.matmul.cores import cores
from llama_edu.transformer.sampling import GREEDY

_LLAMA_CPP_PROGRAM = """
import sys
from llama_cpp import Llama
llama = Llama(sys.argv[1], verbose=False)
llama.eval([llama.token_bos()])
print(llama.sample())
"""


def run() -> str:
    """All tables on loading, as Markdown."""
    parts = []
    for label, path in (
        ("bundled model", bundled_model()),
        ("134M, f32", random_model(SMALL, "f32")),
    ):
        parts.append(f"### {label}, file in the page cache\n\n{_mmap_against_read(path)}")
    parts.append(f"### Opening a GGUF of 32,000 pieces\n\n{_open_gguf(random_model(SMALL, 'f32'))}")
    parts.append(f"### Whole processes\n\n{_processes(random_model(SMALL, 'f32'))}")
    return "\n\n".join(parts)


def _mmap_against_read(path: Path) -> str:
    """Seconds to open, to first token and per further token, mapped and read."""
    stages: dict[str, dict[str, list[float]]] = {}

    def one(mmap: bool) -> None:
        start = time.perf_counter()
        with llama_edu.load(path, mmap=mmap, arithmetic="float32") as llama:
            opened = time.perf_counter()
            tokens = iter(llama.generate_tokens([1], 5, GREEDY))
            next(tokens)
            first = time.perf_counter()
            n_more = sum(1 for _ in tokens)
            end = time.perf_counter()
            del tokens
        name = "mmap" if mmap else "read"
        for stage, seconds in (
            ("open", opened - start),
            ("open to first token", first - start),
            ("one more token", (end - first) / max(1, n_more)),
        ):
            stages.setdefault(stage, {}).setdefault(name, []).append(seconds)

    interleave({"mmap": lambda: one(True), "read": lambda: one(False)})
    rows = []
    for stage, times in stages.items():
        mapped, read = (sorted(times[name][1:]) for name in ("mmap", "read"))
        middle = len(mapped) // 2
        rows.append(
            (
                stage,
                f"{1e3 * mapped[middle]:.1f} ms",
                f"{1e3 * read[middle]:.1f} ms",
                f"{read[middle] / mapped[middle]:.1f}",
            )
        )
    return table(("", "mmap", "read into memory", "read / mmap"), rows)


def _open_gguf(path: Path) -> str:
    """Opening: header and vocabulary available, views ready; llama.cpp also makes its context."""
    peers: dict[str, Callable[[], object]] = {}
    notes = []
    try:
        from gguf import GGUFReader
    except ImportError:
        notes.append("gguf-py is missing from this run; `pip install gguf` adds it.")
    else:
        peers["gguf-py"] = lambda: GGUFReader(path)
    llama_cpp, why = llama_cpp_or_why()
    notes.append(why)
    if llama_cpp is not None:
        peers["llama.cpp"] = lambda: llama_cpp(path, 128, cores().usable)

    def open_ours() -> None:
        llama_edu.load(path, arithmetic="float32").close()

    rows = []
    for name, peer in peers.items():  # one at a time: their threads would interfere with each other
        times = interleave({"llama_edu": open_ours, name: peer})
        ours, theirs = times["llama_edu"], times[name]
        rows.append(
            (
                name,
                f"{1e3 * theirs.median_s:.1f} ms",
                f"{1e3 * ours.median_s:.1f} ms",
                show_ratio(ours.ratio_to(theirs)),
            )
        )
    head = ("", "its median", "llama_edu in the same run", "its time / llama_edu's")
    return table(head, rows) + "\n\n" + " ".join(notes)


def _processes(path: Path) -> str:
    """Whole processes from start to exit; byte code is on disk, as pip leaves it there."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def process(*arguments: str) -> Callable[[], object]:
        command = [sys.executable, *arguments]
        return lambda: subprocess.run(command, check=True, capture_output=True, env=environment)

    contenders = {
        "python": process("-c", "pass"),
        "import numpy": process("-c", "import numpy"),
        "... and llama_edu": process("-c", "import numpy, llama_edu"),
        "... and its load": process("-c", "import numpy; from llama_edu import load"),
        "llama-edu generate, 1 token": process(
            "-m", "llama_edu", "generate", str(path), "--n-tokens", "1", "--arithmetic", "float32"
        ),
    }
    if llama_cpp_or_why()[0] is not None:
        contenders["llama-cpp-python, 1 token"] = process("-c", _LLAMA_CPP_PROGRAM, str(path))
    times = interleave(contenders, 2 * ROUNDS + 1)
    rows = [
        (
            name,
            f"{1e3 * time.median_s:.0f} ms",
            f"{1e3 * time.median_beyond(times['import numpy']):+.0f} ms",
        )
        for name, time in times.items()
    ]
    return table(("process", "median", "beyond import numpy, in the same round"), rows)
