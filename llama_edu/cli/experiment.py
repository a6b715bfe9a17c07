"""llama-edu experiment: measure one claim on this machine."""

from __future__ import annotations

import argparse

from llama_edu.experiments import EXPERIMENTS

HELP = "measure one claim of 2023 on this machine"
DESCRIPTION = "Measure one claim on this machine and print its table:\n\n" + "\n".join(
    f"  {name:14}{meaning}" for name, meaning in EXPERIMENTS.items()
)
EXAMPLE = "llama-edu experiment illusion"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME, --file, --against, --json."""
    parser.add_argument("name", metavar="NAME", choices=EXPERIMENTS, help=", ".join(EXPERIMENTS))
    parser.add_argument(
        "--file",
        metavar="FILE",
        help="a file of your own, or a name; it may be evicted from the page cache (default: a "
        "temporary one of 64 MiB, or the bundled model)",
    )
    parser.add_argument(
        "--against",
        metavar="R",
        help="reconcile alone: stored, float64, torch, transformers or llama.cpp (default: stored, "
        "where there is a fingerprint of the model, else float64)",
    )
    parser.add_argument("--json", action="store_true", help="the numbers, as JSON")


def run(args: argparse.Namespace) -> None:
    """Measure and print."""
    import dataclasses
    import importlib

    from llama_edu.errors import RequestError
    from llama_edu.show.text.json_text import json_text

    name = args.name.replace("-", "_")
    measure = getattr(importlib.import_module(f"llama_edu.experiments.{name}"), name)
    if args.against is not None and name != "reconcile":
        raise RequestError(f"--against: experiment {args.name} makes no comparison; leave it out")
    result = measure(args.file, *([args.against] if args.against else []))
    print(json_text(dataclasses.asdict(result)) if args.json else result)
