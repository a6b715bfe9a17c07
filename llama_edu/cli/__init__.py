"""The command line: `llama-edu` and `python -m llama_edu`.

One module per command; only the module of the command that runs is imported, and it imports what it
needs when it runs, so that every command starts quickly. Errors that the package raises on purpose
become one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llama_edu.cli.stdout import ReaderGone, guarded_stdout
from llama_edu.errors import LlamaEduError, LlamaEduWarning

#: In the order in which --help shows them. Each is a module here with HELP, DESCRIPTION, EXAMPLE,
#: add_arguments() and run().
COMMANDS = (
    "demo",
    "inspect",
    "convert",
    "generate",
    "pages",
    "residency",
    "experiment",
    "perplexity",
    "compare",
    "logits",
    "tokenize",
)

_DEBUG_HELP = "show the traceback of an error, not only its message"


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """The parser for the one command that `argv` names, or for an overview of all."""
    from llama_edu import __version__

    parser = argparse.ArgumentParser(
        prog="llama-edu",
        description="How a language model runs from a memory-mapped file: convert, map, generate.",
        epilog="Start with: llama-edu demo",
        allow_abbrev=False,  # an abbreviated --debug would hide the command after it
    )
    parser.add_argument("--version", action="version", version=f"llama-edu {__version__}")
    parser.add_argument("--debug", action="store_true", help=_DEBUG_HELP)
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    named = next((word for word in argv if word != "--debug"), None)
    for name in (named,) if named in COMMANDS else COMMANDS:
        command = importlib.import_module(f"llama_edu.cli.{name}")
        command_parser = subparsers.add_parser(
            name,
            help=command.HELP,
            description=command.DESCRIPTION,
            epilog=f"example: {command.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == named:
            command.add_arguments(command_parser)
        # without a default, which would overwrite a --debug given before the command
        command_parser.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=_DEBUG_HELP
        )
        command_parser.set_defaults(run=command.run)
    return parser


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Show this package's own warnings as sentences, without file and line."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if issubclass(category, LlamaEduWarning):
            print(f"llama-edu: {message}", file=sys.stderr)
        else:
            before(message, category, *rest, **more)

    warnings.showwarning = show  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.showwarning = before


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 for success, 1 where `compare` finds a difference, 2 for an error, 130 after Ctrl+C.
    """
    argv = sys.argv[1:] if argv is None else argv
    debug = False
    try:
        with guarded_stdout(), warnings_in_one_line():
            args = build_parser(argv).parse_args(argv)
            debug = args.debug
            return args.run(args) or 0
    except LlamaEduError as error:
        if debug:
            raise
        print(f"llama-edu: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except ReaderGone:  # such as head, once it has its lines
        return 0
