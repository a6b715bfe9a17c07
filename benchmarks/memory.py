"""Private memory: what a process needs of its own while the weights stay in the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.models import SMALL, bundled_model, random_model
from benchmarks.timing import table

_PROGRAM = """
import json, sys
from pathlib import Path
from llama_edu import load  # imported first, so that what it imports does not count
from llama_edu.transformer.sampling import GREEDY

def private_bytes():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    fields = dict(line.split()[:2] for line in lines)
    return 1024 * (int(fields["Private_Dirty:"]) + int(fields["Swap:"]))

path, mmap = sys.argv[1], sys.argv[2] == "mmap"
start = private_bytes()
with load(path, mmap=mmap, arithmetic="float32") as llama:
    loaded = private_bytes()
    generation = llama.generate_tokens([1, 5, 7, 11], 64, GREEDY)
    for _ in generation:
        pass
    print(json.dumps({"load": loaded - start, "tokens": private_bytes() - start,
                      "cache": generation.cache.n_bytes}))
"""


def run() -> str:
    """The table on memory, as Markdown; Linux only."""
    if not Path("/proc/self/smaps_rollup").exists():
        return "Private memory is read from /proc/self/smaps_rollup, which this system lacks."
    rows = []
    for label, path in (
        ("bundled, f16", bundled_model()),
        ("134M, f32", random_model(SMALL, "f32")),
        ("134M, q4_0", random_model(SMALL, "q4_0")),
    ):
        for way in ("mmap", "read"):
            found = _measure(path, way)
            rows.append(
                (
                    label,
                    f"{path.stat().st_size / 2**20:.1f}",
                    way,
                    *(f"{found[key] / 2**20:.1f}" for key in ("load", "tokens", "cache")),
                )
            )
    head = ("model", "file, MiB", "", "private after load", "after 64 tokens", "of that KV cache")
    return "Private memory of a process, MiB beyond what it had after its imports.\n\n" + table(
        head, rows
    )


def _measure(path: Path, way: str) -> dict[str, int]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(path), way], check=True, capture_output=True
    )
    return json.loads(done.stdout)
