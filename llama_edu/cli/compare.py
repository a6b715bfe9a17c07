"""llama-edu compare: are these two files the same model? Or: how much worse is the other one?"""

from __future__ import annotations

import argparse

HELP = "compare two checkpoints: tensor by tensor, or on a text"
DESCRIPTION = (
    "Compare two checkpoints: largest and mean difference per tensor, the first that differs, and "
    "the logits of a fixed prompt. Exit code 1 when they differ beyond --tolerance; with --steps, "
    "when a step differs by more than rounding. With --text-file: what B loses on a text beside A, "
    "in nats per token with a standard error, the KL divergence of its probabilities, and how "
    "often both find the same token likeliest; several files may be given as B."
)
EXAMPLE = """\
llama-edu convert stories stories.ggjt
llama-edu compare stories stories.ggjt --tolerance 0"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A, B, --tolerance, --steps; --text-file and how it is cut; --json."""
    from llama_edu.cli.arguments import add_no_mmap, add_speed, add_stated
    from llama_edu.cli.judging import add_text, add_windows

    parser.add_argument("a", metavar="A", help="a weight file, a folder, or a name")
    parser.add_argument("b", metavar="B", nargs="+", help="another one; with --text-file, several")
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="D",
        help="largest difference that counts as the same (default 0)",
    )
    add_no_mmap(parser)
    parser.add_argument(
        "--steps", action="store_true", help="every step of a text: where do the two part?"
    )
    add_text(parser, required=False)
    parser.add_argument(
        "--tokenizer", metavar="FILE", help="for weights without a vocabulary; with --text-file"
    )
    parser.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="with --text-file, positions per window (default: the models' context, at most 512); "
        "without, positions that the models can hold, instead of what the files say",
    )
    add_windows(parser)
    add_speed(parser, arithmetic="float32")
    add_stated(parser, without=("context",))


#: What has a meaning only with a text: argument -> its default.
_OF_A_TEXT = {"stride": None, "windows": "ours", "at_most": None, "workers": None,
              "tokenizer": None, "threads": None, "kernels": "auto",
              "arithmetic": "float32"}  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print the comparison; 1 when the models differ, 130 where Ctrl+C cut it short."""
    import dataclasses
    from dataclasses import replace

    from llama_edu.cli.arguments import stated
    from llama_edu.cli.judging import print_judgement
    from llama_edu.compare import compare, compare_steps
    from llama_edu.errors import RequestError
    from llama_edu.show.text.json_text import json_text

    if args.text_file is not None:
        if args.steps or args.tolerance is not None:
            other = "--steps" if args.steps else "--tolerance"
            raise RequestError(f"{other}: compares without a text; leave it or --text-file out")
        return print_judgement(args, (args.a, *args.b), stated(args))
    for name, default in _OF_A_TEXT.items():
        if getattr(args, name) != default:
            raise RequestError(
                f"--{name.replace('_', '-')}: needs a text to score; give one with --text-file"
            )
    if len(args.b) > 1:
        raise RequestError(
            f"compare: {len(args.b) + 1} files, expected two; more are compared on a text, with "
            f"--text-file"
        )
    own = replace(stated(args), context=args.context)
    if args.steps:
        report = compare_steps(args.a, args.b[0], own, mmap=args.mmap)
        print(json_text(report.to_rows()) if args.json else report)
        return 0 if report.agrees else 1
    comparison = compare(args.a, args.b[0], args.tolerance or 0.0, own, mmap=args.mmap)
    print(json_text(dataclasses.asdict(comparison)) if args.json else comparison)
    return 0 if comparison.same else 1
