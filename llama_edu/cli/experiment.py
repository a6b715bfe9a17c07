"""llama-edu experiment: measure one claim on this machine."""

from __future__ import annotations

import argparse

HELP = "measure one claim of 2023 on this machine"
DESCRIPTION = """Measure one claim on this machine and print its table:

  illusion      411,522 page faults were not 1.6 GB: faults against pages, warm and cold
  load-race     mmap, read and others: time to open, to the end of a first pass, private memory
  sharing       several processes with one file: what each takes for itself
  memory-cap    a file larger than the memory it may use: the cliff, and what helps
  sparse-parts  which parts of a LLaMA a token really does not need
"""
EXAMPLE = "llama-edu experiment illusion"

#: Name on the command line -> module and function in llama_edu.experiments.
EXPERIMENTS = {
    name: name.replace("-", "_")
    for name in ("illusion", "load-race", "sharing", "memory-cap", "sparse-parts")
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME, --file, --json."""
    parser.add_argument("name", metavar="NAME", choices=EXPERIMENTS, help=", ".join(EXPERIMENTS))
    parser.add_argument(
        "--file",
        metavar="FILE",
        help="a file of your own; it may be evicted from the page cache (default: a temporary "
        "one of 64 MiB, or the bundled model)",
    )
    parser.add_argument("--json", action="store_true", help="the numbers, as JSON")


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    import dataclasses
    import importlib
    import json

    name = EXPERIMENTS[args.name]
    measure = getattr(importlib.import_module(f"llama_edu.experiments.{name}"), name)
    result = measure(args.file)
    print(json.dumps(dataclasses.asdict(result), indent=2) if args.json else result)
