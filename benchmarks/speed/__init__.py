"""Tokens per second: ours, llama.cpp on the same file with the same threads, and the memory's.

`subjects` are the files, `contenders` who runs, `race` runs them; `results` are the numbers,
kept in speed.json so that a part can be repeated; `tables` and `bars` show it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.models import Missing
from benchmarks.peers import llama_cpp_or_why, torch_or_why
from benchmarks.speed.bars import speed_figure
from benchmarks.speed.race import measure
from benchmarks.speed.results import Results, read_results, write_results
from benchmarks.speed.subjects import SUBJECTS
from benchmarks.speed.tables import file_table, ratio_table, share_table
from benchmarks.timing import ROUNDS
from llama_edu.matmul.cores import cores


def run(only: Sequence[str] = (), *, large: bool = False, rounds: int = ROUNDS) -> str:
    """Measure some files or all, keep the numbers of the others, and show everything as Markdown.

    Args:
        only: names of SUBJECTS; none means all but the large ones.
        large: whether the large ones are among all.
        rounds: of every contender; fewer than ROUNDS are for trying this out.
    """
    results = read_results()
    left_out = []
    for name in only or [n for n, subject in SUBJECTS.items() if large or not subject.is_large]:
        print(f"  {SUBJECTS[name].title} ...", file=sys.stderr)
        try:
            path = SUBJECTS[name].find()
        except Missing as missing:
            left_out.append(f"{SUBJECTS[name].title}: left out of the last run. {missing}")
            continue
        results[name] = measure(path, with_torch=name == "f32", rounds=rounds)
        write_results(results)
    return show(results, left_out)


def show(results: Results, left_out: Sequence[str] = ()) -> str:
    """All numbers as Markdown: a table for each file, then everything beside llama.cpp."""
    about = f"{cores().usable} threads. {llama_cpp_or_why()[1]} {torch_or_why()[1]}"
    parts = [about, _HOW_TO_READ, *left_out]
    for name, measured in results.items():
        parts.append(f"### {SUBJECTS[name].title}\n\n{file_table(measured)}\n\n{measured.about}")
    parts.append(f"### Share of the memory's speed, decode\n\n{share_table(results)}")
    if compared := ratio_table(results):
        parts.append(f"### Compared with llama.cpp\n\n{compared}\n\n{speed_figure(results)}")
    return "\n\n".join(parts)


_HOW_TO_READ = """\
"numpy / this": how many times as fast llama_edu is with numpy's kernels as what the row names, and
so on; above 1, ours is faster. CPU time adds up all threads. The memory's speed is that of
`numpy.dot` on a float32 matrix larger than the processor's cache, in the same round. A decode's
share of it counts the bytes of the weights that a token reads, without keys and values; a model
that fits into the cache can have more than 1."""
