"""llama-edu residency: which pages of this file are in the page cache now?"""

from __future__ import annotations

import argparse

HELP = "show which pages of a file are in the page cache"
DESCRIPTION = (
    "Show which pages of a weight file are in the page cache now, per tensor. With --evict or\n"
    "--prefetch ask the kernel to change that, and report each call's return code."
)
EXAMPLE = """\
llama-edu convert stories stories.ggjt
llama-edu residency stories.ggjt --evict"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, --evict, --prefetch."""
    from llama_edu.cli.arguments import add_file

    add_file(parser)
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--evict", action="store_true", help="ask the kernel to drop the file")
    group.add_argument("--prefetch", action="store_true", help="ask the kernel to read the file")


def run(args: argparse.Namespace) -> None:
    """Print one report per file of the checkpoint."""
    from llama_edu.files.detect import read_checkpoint
    from llama_edu.pages import residency

    checkpoint = read_checkpoint(args.file)
    for index, path in enumerate(checkpoint.paths):
        if args.evict:
            print(residency.evict(path, checkpoint.tensors, index))
        elif args.prefetch:
            print(residency.prefetch(path, checkpoint.tensors, index))
        else:
            print(residency.residency(path, checkpoint.tensors, index))
