"""llama-edu compare: are these two files the same model?"""

from __future__ import annotations

import argparse

HELP = "compare two checkpoints, tensor by tensor"
DESCRIPTION = (
    "Compare two checkpoints: largest and mean difference per tensor, the first that differs, and "
    "the logits of a fixed prompt. Exit code 1 when they differ beyond --tolerance; with --steps, "
    "when a step differs by more than rounding."
)
EXAMPLE = """\
llama-edu convert stories stories.ggjt
llama-edu compare stories stories.ggjt --tolerance 0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A, B, --tolerance, --steps."""
    from llama_edu.cli.arguments import add_no_mmap, add_stated

    parser.add_argument("a", metavar="A", help="a weight file, a folder, or a name")
    parser.add_argument("b", metavar="B", help="another one")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="D",
        help="largest difference that counts as the same (default 0)",
    )
    add_no_mmap(parser)
    parser.add_argument(
        "--steps", action="store_true", help="every step of a text: where do the two part?"
    )
    add_stated(parser)


def run(args: argparse.Namespace) -> int:
    """Print the comparison; 1 when the models differ."""
    from llama_edu.cli.arguments import stated
    from llama_edu.compare import compare, compare_steps

    if args.steps:
        report = compare_steps(args.a, args.b, stated(args), mmap=args.mmap)
        print(report)
        return 0 if report.agrees else 1
    comparison = compare(args.a, args.b, args.tolerance, stated(args), mmap=args.mmap)
    print(comparison)
    return 0 if comparison.same else 1
