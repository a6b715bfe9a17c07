"""The command line: `llama-edu` and `python -m llama_edu`.

One module per command; only the module of the command that runs is imported, and it imports what it
needs when it runs, so that every command starts quickly. Errors that the package raises on purpose,
and those of a system that has no more memory, room or threads, become one sentence and exit code 2.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from llama_edu.cli.endings.bus_error import bus_error_explained
from llama_edu.cli.endings.signals import Ended, signals_clean_up
from llama_edu.cli.streams.stdout import ReaderGone, guarded_stdout
from llama_edu.errors import LlamaEduError, LlamaEduWarning, RequestError
from llama_edu.text import visible, visible_lines

#: In the order in which --help shows them. Each is a module here with HELP, DESCRIPTION, EXAMPLE,
#: add_arguments() and run().
COMMANDS = (
    "demo",
    "models",
    "inspect",
    "convert",
    "generate",
    "chat",
    "pages",
    "residency",
    "experiment",
    "bench",
    "perplexity",
    "compare",
    "logits",
    "trace",
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
            _say(str(message))
        else:
            before(message, category, *rest, **more)

    warnings.showwarning = show  # type: ignore[assignment]
    try:
        yield
    finally:
        warnings.showwarning = before


def _say(sentence: str) -> None:
    """Print a sentence on stderr, where there is one; what stands in it commands no terminal."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"llama-edu: {visible_lines(sentence)}", file=sys.stderr, flush=True)


def _sentence_of(error: Exception) -> str | None:
    """What the user is told about an error; None for one that is a fault of this program."""
    if isinstance(error, LlamaEduError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            "there is not enough memory for this; choose a smaller model or a shorter text, and do "
            "not use --no-mmap"
        )
    if isinstance(error, OSError):
        name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        room = (errno.ENOSPC, getattr(errno, "EDQUOT", None))
        what_to_do = "; set TMPDIR to a folder with more room" if error.errno in room else ""
        return f"{name[:300]}the system answers: {error.strerror or error}{what_to_do}"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return (
            "the system allows no more threads; give fewer with --threads, or set "
            "OPENBLAS_NUM_THREADS=1"
        )
    return None


def _check_text(args: argparse.Namespace) -> None:
    """Raise RequestError for a text on the command line whose bytes are not those of its letters.

    Python hands on such a byte as half a surrogate pair.
    """
    named = [(name, getattr(args, name, None) or "") for name in ("prompt", "text", "system")]
    for name, text in [*named, *(("stop", stop) for stop in getattr(args, "stop", None) or ())]:
        wrong = next((c for c in text if 0xDC80 <= ord(c) <= 0xDCFF), None)
        if wrong is not None:
            raise RequestError(
                f"{name}: character {text.index(wrong)} is the byte 0x{ord(wrong) - 0xDC00:x}, "
                f"which is not {sys.getfilesystemencoding()}; let the terminal send UTF-8, or "
                f"convert the text with iconv"
            )


def _expand_home(args: argparse.Namespace) -> None:
    """Put the home folder in the place of "~" in paths, which a shell leaves in quotes."""
    paths = (
        "destination", "out", "prompt_file", "text_file", "tokenizer", "template", "history",
    )  # fmt: skip
    for name in paths:
        path = getattr(args, name, None)
        if isinstance(path, str):
            setattr(args, name, os.path.expanduser(path))  # noqa: PTH111 - keeps "" and "./x"


def _mapped_path(args: argparse.Namespace) -> str | None:
    """What the command maps, as the user named it; None where it is the program's own."""
    named = [getattr(args, name, None) for name in ("file", "a")]
    named += getattr(args, "b", None) or []
    return visible(" or ".join(path for path in named if isinstance(path, str))) or None


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 for success, 1 where `compare` finds a difference, 2 for an error, 130 after Ctrl+C.
    """
    argv = sys.argv[1:] if argv is None else argv
    debug = "--debug" in argv
    try:
        with signals_clean_up(), guarded_stdout(), warnings_in_one_line():
            args = build_parser(argv).parse_args(argv)
            debug = args.debug
            _check_text(args)
            _expand_home(args)
            with bus_error_explained(_mapped_path(args), can_read="mmap" in args):
                return args.run(args) or 0
    except ReaderGone:  # such as head, once it has its lines
        return 0
    except KeyboardInterrupt:
        if sys.stderr is not None:
            print(file=sys.stderr)
        return 130
    except Ended as ended:
        return 128 + ended.number
    except Exception as error:
        sentence = _sentence_of(error)
        if debug or sentence is None:
            raise
        _say(sentence)
        return 2
