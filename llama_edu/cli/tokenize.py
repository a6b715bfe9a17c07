"""llama-edu tokenize: the ids of a text and the pieces they stand for."""

from __future__ import annotations

import argparse

HELP = "show the token ids of a text"
DESCRIPTION = "Show the token ids of a text, one piece a line, or only the ids with --ids."
EXAMPLE = 'llama-edu tokenize data/stories "Once upon a time"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, TEXT, --tokenizer, --ids."""
    from llama_edu.cli.arguments import add_model

    add_model(parser)
    parser.add_argument("text", metavar="TEXT", help="the text; BOS is put in front")
    parser.add_argument("--ids", action="store_true", help="print only the ids, in one line")


def run(args: argparse.Namespace) -> None:
    """Print one line per token."""
    from llama_edu.llama import load
    from llama_edu.text import quoted

    with load(args.file, tokenizer=args.tokenizer) as llama:
        tokens = llama.tokenizer.encode(args.text)
        if args.ids:
            print(*tokens)
            return
        for token in tokens:
            piece = llama.tokenizer.piece(token)
            shown = quoted(piece.decode("utf-8", "backslashreplace")) if piece else "(control)"
            print(f"{token:6d}  {shown}")
