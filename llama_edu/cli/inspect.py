"""llama-edu inspect: what does this file hold, and where?"""

from __future__ import annotations

import argparse

HELP = "show what a weight file holds, and where"
DESCRIPTION = "Show format, sizes, types and where every byte goes. Reads headers only."
EXAMPLE = "llama-edu inspect data/stories --tensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE and how much to show."""
    from llama_edu.cli.arguments import add_file, add_stated

    add_file(parser)
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
    add_stated(parser)


def run(args: argparse.Namespace) -> None:
    """Print the report, or the hex view."""
    from llama_edu.cli.arguments import stated
    from llama_edu.files.detect import read_checkpoint
    from llama_edu.show.text.hexview import hex_view
    from llama_edu.show.text.json_text import json_text
    from llama_edu.show.text.report import checkpoint_as_dict, checkpoint_report

    if args.hex_bytes is not None:
        print(hex_view(args.file, args.hex_bytes))
        return
    checkpoint = stated(args).apply(read_checkpoint(args.file))
    if args.json:
        print(json_text(checkpoint_as_dict(checkpoint)))
    else:
        print(checkpoint_report(checkpoint, tensors=args.tensors, metadata=args.metadata))
