"""The command line: `llama-edu` and `python -m llama_edu`.

One module per command; each adds its own arguments and imports what it needs when it runs, so that
`llama-edu --help` is instant. Errors that the package raises on purpose become one sentence and
exit code 2.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from llama_edu.cli import (
    compare,
    convert,
    demo,
    experiment,
    generate,
    inspect,
    logits,
    pages,
    perplexity,
    residency,
    tokenize,
)
from llama_edu.errors import LlamaEduError

COMMANDS = (
    demo,
    inspect,
    convert,
    generate,
    pages,
    residency,
    experiment,
    perplexity,
    compare,
    logits,
    tokenize,
)


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the commands named in `argv` get their arguments, which may cost imports."""
    from llama_edu import __version__

    parser = argparse.ArgumentParser(
        prog="llama-edu",
        description="How a language model runs from a memory-mapped file: convert, map, generate.",
        epilog="Start with: llama-edu demo",
    )
    parser.add_argument("--version", action="version", version=f"llama-edu {__version__}")
    parser.add_argument(
        "--debug", action="store_true", help="show the traceback of an error, not only its sentence"
    )
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command_parser = subparsers.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.DESCRIPTION,
            epilog=f"example: {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command.NAME in argv:
            command.add_arguments(command_parser)
        command_parser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 where a command says no, 2 for an error."""
    argv = sys.argv[1:] if argv is None else argv
    args = build_parser(argv).parse_args(argv)
    try:
        return args.run(args) or 0
    except LlamaEduError as error:
        if args.debug:
            raise
        print(f"llama-edu: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, head for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
