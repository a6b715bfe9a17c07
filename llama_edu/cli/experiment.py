"""llama-edu experiment: measure one claim on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from llama_edu.experiments import EXPERIMENTS

HELP = "measure one claim of 2023 on this machine"
DESCRIPTION = "Measure one claim on this machine and print its table:\n\n" + "\n".join(
    f"  {name:14}{meaning}" for name, meaning in EXPERIMENTS.items()
)
EXAMPLE = "llama-edu experiment illusion"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """NAME, --file, --against, --text-file, --workers, --json."""
    from llama_edu.cli.judging import add_workers

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
        help="neurons, neurons-and-pages, experts, slimmer and arithmetic: a UTF-8 text to score "
        "and, but for the last, to calibrate with (default: stories that suit the bundled model)",
    )
    add_workers(parser)
    parser.add_argument("--json", action="store_true", help="the numbers, as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure and print; 130 where Ctrl+C cut the measurement short."""
    import dataclasses
    import importlib
    import inspect
    from contextlib import ExitStack

    from llama_edu.cli.streams.progress import progress_bar
    from llama_edu.errors import RequestError
    from llama_edu.show.text.json_text import json_text
    from llama_edu.workers.pieces import EngineError
    from llama_edu.workers.pool import process_map

    def show(result: Any) -> None:
        print(json_text(dataclasses.asdict(result)) if args.json else result)

    name = args.name.replace("-", "_")
    measure = getattr(importlib.import_module(f"llama_edu.experiments.{name}"), name)
    takes = inspect.signature(measure).parameters
    options: dict[str, Any] = {}
    for option, lacks in (("against", "makes no comparison"), ("text_file", "takes no text")):
        value = getattr(args, option)
        if value is not None and option not in takes:
            flag = option.replace("_", "-")
            raise RequestError(f"--{flag}: experiment {args.name} {lacks}; leave it out")
        if value is not None:
            options[option] = value
    if args.workers is not None and "map" not in takes:
        raise RequestError(
            f"--workers: experiment {args.name} has no pieces that could be computed apart from "
            f"each other, or measures what others would disturb; leave it out"
        )
    try:
        with ExitStack() as stack:
            if args.workers is not None:
                options["map"] = stack.enter_context(process_map(args.workers))
                if "workers" in takes:
                    options["workers"] = args.workers
            if "progress" in takes:
                unit = "piece" if "map" in takes else "token"
                options["progress"] = stack.enter_context(progress_bar(args.name, unit))
            result = measure(args.file, **options)
    except EngineError as error:
        if error.kept is not None:
            show(error.kept)
        raise
    show(result)
    return 130 if getattr(result, "cut_short", False) else 0
