"""Measure all or some chapters, and write RESULTS.md: python -m benchmarks [CHAPTER ...]."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from pathlib import Path

import numpy as np

import llama_edu
from benchmarks.speed.subjects import SUBJECTS
from llama_edu.matmul.cores import cores

RESULTS = Path(__file__).parent / "RESULTS.md"
CHAPTERS = {
    "speed": "Speed",
    "busy": "A busy machine",
    "first_token": "First token, from nothing",
    "load": "Loading",
    "memory": "Memory",
    "convert": "Conversion",
    "pages": "Measuring pages",
    "scale": "Scale",
}


def main() -> None:
    """Run the requested chapters and put them into RESULTS.md, keeping the others."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "chapters",
        nargs="*",
        choices=[[], *CHAPTERS],
        metavar="CHAPTER",
        help=f"any of {', '.join(CHAPTERS)} (default: all)",
    )
    parser.add_argument(
        "--only",
        metavar="NAME,NAME",
        help=f"of chapter speed, these files; others keep their numbers: {', '.join(SUBJECTS)}",
    )
    parser.add_argument(
        "--large",
        action="store_true",
        help="in chapter speed, also the model of 1.1 billion parameters (makes a file of 620 MB)",
    )
    args = parser.parse_args()
    wanted = args.chapters or list(CHAPTERS)
    only = args.only.split(",") if args.only else []
    if only and args.chapters != ["speed"]:
        parser.error("--only is for chapter speed alone: python -m benchmarks speed --only ...")
    if unknown := set(only) - set(SUBJECTS):
        parser.error(f"--only: {', '.join(sorted(unknown))}, expected of {', '.join(SUBJECTS)}")
    chapters = _read_results()
    for name in wanted:
        print(f"{name} ...", file=sys.stderr)
        run = importlib.import_module(f"benchmarks.{name}").run
        text = run(only, large=args.large) if name == "speed" else run()
        chapters[CHAPTERS[name]] = text
        print(f"\n## {CHAPTERS[name]}\n\n{text}\n")
        _write_results(chapters)


def _machine() -> str:
    blas = os.environ.get("OPENBLAS_CORETYPE")
    return (
        f"{platform.system()} {platform.machine()}, {cores().usable} cores, Python "
        f"{platform.python_version()}, numpy {np.__version__}, llama_edu {llama_edu.__version__}"
        + (f", OPENBLAS_CORETYPE={blas}" if blas else "")
    )


def _read_results() -> dict[str, str]:
    if not RESULTS.exists():
        return {}
    parts = RESULTS.read_text("utf-8").split("\n## ")[1:]
    return {title: body.strip() for title, _, body in (part.partition("\n") for part in parts)}


def _write_results(chapters: dict[str, str]) -> None:
    head = (
        "# Benchmark results\n\nMade by `make bench`. Contenders run in turn, each after a pause "
        "in which idle threads go to sleep; in the chapter on speed, also after an uncounted run "
        "that brings the processor to full speed. The first round is not counted; numbers are "
        "medians of at least five rounds; ratios are taken within a round, with the smallest and "
        "the largest in parentheses.\n\n"
        f"Machine of the last run: {_machine()}.\n"
    )
    body = "".join(
        f"\n## {title}\n\n{chapters[title]}\n" for title in CHAPTERS.values() if title in chapters
    )
    RESULTS.write_text(head + body, "utf-8")


if __name__ == "__main__":
    main()
