"""llama-edu inspect: what is in this file, and where."""

from __future__ import annotations

import argparse

NAME = "inspect"
HELP = "show what a weight file holds, and where"
DESCRIPTION = "Show format, sizes, types and where every byte goes. Reads headers only."
EXAMPLE = "llama-edu inspect data/stories --tensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, --tensors, --json."""
    parser.add_argument("file", metavar="FILE", help="a weight file, or a folder in Meta's layout")
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")


def run(args: argparse.Namespace) -> None:
    """Print the report."""
    import json

    from llama_edu.files.detect import read_checkpoint
    from llama_edu.show.report import checkpoint_as_dict, checkpoint_report

    checkpoint = read_checkpoint(args.file)
    if args.json:
        print(json.dumps(checkpoint_as_dict(checkpoint), indent=2))
    else:
        print(checkpoint_report(checkpoint, tensors=args.tensors))
