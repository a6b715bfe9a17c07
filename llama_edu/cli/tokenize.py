"""llama-edu tokenize: the token ids of a text and their pieces."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llama_edu.tokenizer.protocol import Tokenizer

HELP = "show the token ids of a text"
DESCRIPTION = "Show the token ids of a text with their pieces, one per line, or only the ids."
EXAMPLE = 'llama-edu tokenize stories "Once upon a time"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, TEXT, --tokenizer, --ids."""
    from llama_edu.cli.arguments import add_model

    add_model(parser)
    parser.add_argument("text", metavar="TEXT", help="a text; BOS is added if the model expects it")
    parser.add_argument(
        "--special",
        action="store_true",
        help="names of control pieces in the text, such as <s>, become these pieces",
    )
    parser.add_argument("--ids", action="store_true", help="print only the ids, on one line")


def run(args: argparse.Namespace) -> None:
    """Print one line per token, or the ids alone."""
    from llama_edu.files.detect import read_checkpoint, vocabulary_alone
    from llama_edu.tokenizer.choice import tokenizer_for, tokenizer_of

    vocabulary = vocabulary_alone(args.file) if args.tokenizer is None else None
    if vocabulary is not None:
        _show(tokenizer_of(vocabulary), args)
    else:
        _show(tokenizer_for(read_checkpoint(args.file), args.tokenizer), args)


def _show(tokenizer: Tokenizer, args: argparse.Namespace) -> None:
    from llama_edu.text import quoted

    tokens = tokenizer.encode(args.text, special=args.special)
    if tokenizer.asks_for_eos:
        print(
            "llama-edu: the tokenizer's file asks for EOS after a text (add_eos_token); it is left "
            "out, because a text that is to be continued has no end",
            file=sys.stderr,
        )
    if args.ids:
        print(*tokens)
        return
    for token in tokens:
        piece = tokenizer.piece(token)
        shown = _shown(piece) if piece else f"(control) {quoted(tokenizer.name(token))}"
        print(f"{token:6d}  {shown}")


def _shown(piece: bytes) -> str:
    """The piece as Python writes it: as text, or as bytes where it ends inside a character."""
    from llama_edu.text import quoted

    try:
        return quoted(piece.decode("utf-8"))
    except UnicodeDecodeError:
        return quoted(piece)
