"""llama-edu inspect: what does this file hold, and where?"""

from __future__ import annotations

import argparse

HELP = "show what a weight file holds, and where"
DESCRIPTION = (
    "Show format, sizes, types and where every byte goes. Reads headers only.\n"
    "--machine shows what this machine has to compute with; no FILE is needed then."
)
EXAMPLE = "llama-edu inspect stories --tensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE and how much to show, or --machine."""
    from llama_edu.cli.arguments import add_file, add_stated

    add_file(parser, nargs="?")
    parser.add_argument("--tensors", action="store_true", help="list every tensor")
    parser.add_argument("--metadata", action="store_true", help="list the header's metadata")
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    parser.add_argument(
        "--hex",
        type=int,
        metavar="N",
        dest="hex_bytes",
        help="show the first N bytes with every field named",
    )
    parser.add_argument(
        "--machine",
        action="store_true",
        help="show which kernels this machine can use, and its instructions for --arithmetic int8",
    )
    add_stated(parser)


def run(args: argparse.Namespace) -> None:
    """Print the report, or the hex view, or what the machine has."""
    from llama_edu.cli.arguments import stated
    from llama_edu.errors import RequestError
    from llama_edu.files.detect import read_checkpoint
    from llama_edu.show.text.hexview import hex_view
    from llama_edu.show.text.json_text import json_text
    from llama_edu.show.text.machine import machine_report
    from llama_edu.show.text.report import checkpoint_as_dict, checkpoint_report

    if args.machine:
        if args.file is not None or args.json or args.hex_bytes is not None:
            raise RequestError("inspect: --machine takes no FILE, --json or --hex; ask separately")
        print(machine_report())
        return
    if args.file is None:
        raise RequestError("inspect: no FILE given, expected a weight file, or --machine")
    if args.hex_bytes is not None:
        print(hex_view(args.file, args.hex_bytes))
        return
    checkpoint = stated(args).apply(read_checkpoint(args.file))
    if args.json:
        print(json_text(checkpoint_as_dict(checkpoint)))
    else:
        print(checkpoint_report(checkpoint, tensors=args.tensors, metadata=args.metadata))
