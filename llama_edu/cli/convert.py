"""llama-edu convert: any readable checkpoint into one file that can be mapped."""

from __future__ import annotations

import argparse

NAME = "convert"
HELP = "write a checkpoint as one file that can be mapped"
DESCRIPTION = (
    "Write a checkpoint as another format, tensor by tensor; DST appears when it is complete."
)
EXAMPLE = "llama-edu convert data/stories stories.ggjt --to ggjt-v1 --type f16"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SRC, DST, --to, --type, --tokenizer."""
    from llama_edu.files import convert

    parser.add_argument("source", metavar="SRC", help="a weight file, or a folder in Meta's layout")
    parser.add_argument("destination", metavar="DST", help="the file to write")
    parser.add_argument("--to", default="ggjt-v1", choices=convert.TARGETS, help="(default ggjt-v1)")
    parser.add_argument(
        "--type", default="keep", choices=convert.TYPES, help="of the matrices (default keep)"
    )
    parser.add_argument("--tokenizer", metavar="FILE", help="where the source has no vocabulary")


def run(args: argparse.Namespace) -> None:
    """Convert and say what was done."""
    from llama_edu.cli.progress import byte_progress
    from llama_edu.files.convert import convert

    with byte_progress("converting") as progress:
        done = convert(
            args.source,
            args.destination,
            to=args.to,
            type=args.type,
            tokenizer=args.tokenizer,
            progress=progress,
        )
    print(done)
