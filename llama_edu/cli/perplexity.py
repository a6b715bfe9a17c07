"""llama-edu perplexity: how surprised is a model by a text?"""

from __future__ import annotations

import argparse

HELP = "score a text: nats per token, with an error"
DESCRIPTION = (
    "Score a text file window by window: nats per token with a standard error, and perplexity. "
    "With --windows llama.cpp the text is cut as llama-perplexity does."
)
EXAMPLE = """\
llama-edu generate stories --prompt "Once upon a time" --seed 1 > story.txt
llama-edu perplexity stories --text-file story.txt --context 256"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, --text-file, how the text is cut, --workers, --json."""
    from llama_edu.cli.arguments import add_model, add_no_mmap, add_speed, add_stated
    from llama_edu.cli.judging import add_text, add_windows

    add_model(parser)
    add_text(parser, required=True)
    parser.add_argument(
        "--context",
        type=int,
        metavar="N",
        help="positions per window (default: the model's context, at most 512)",
    )
    add_windows(parser)
    add_speed(parser, arithmetic="float32")
    add_no_mmap(parser)
    add_stated(parser, without=("context",))


def run(args: argparse.Namespace) -> int:
    """Score and print; 130 where Ctrl+C cut it short."""
    from llama_edu.cli.arguments import stated
    from llama_edu.cli.judging import print_judgement

    return print_judgement(args, (args.file,), stated(args))
