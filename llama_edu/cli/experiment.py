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
    """NAME, --file, --against, --text-file, --json."""
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
    parser.add_argument(
        "--text-file",
        metavar="F",
        help="a UTF-8 text, where a text is scored (default: stories that suit the bundled model)",
    )
    parser.add_argument("--json", action="store_true", help="the numbers, as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 130 where Ctrl+C ended it before all was measured."""
    import dataclasses
    import importlib
    import inspect

    from llama_edu.cli.streams.progress import progress_bar
    from llama_edu.errors import RequestError
    from llama_edu.show.text.json_text import json_text

    name = args.name.replace("-", "_")
    measure = getattr(importlib.import_module(f"llama_edu.experiments.{name}"), name)
    takes = inspect.signature(measure).parameters
    if args.against is not None and "against" not in takes:
        raise RequestError(f"--against: experiment {args.name} compares with nobody; leave it out")
    if args.text_file is not None and "text_file" not in takes:
        raise RequestError(f"--text-file: experiment {args.name} scores no text; leave it out")
    given = {"against": args.against, "text_file": args.text_file}
    options = {option: value for option, value in given.items() if value is not None}
    if "progress" in takes:
        with progress_bar(args.name, "pass") as progress:
            result = measure(args.file, **options, progress=progress)
    else:
        result = measure(args.file, **options)
    print(json_text(dataclasses.asdict(result)) if args.json else result)
    return 130 if getattr(result, "was_cut", False) else 0
