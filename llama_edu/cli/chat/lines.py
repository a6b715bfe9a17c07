"""Lines of input: from a terminal with editing and a history, or from a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from llama_edu.errors import RequestError

#: Lines that a history file keeps.
_MOST_LINES = 1000


def is_terminal() -> bool:
    """Whether standard input and standard output are both a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


@contextmanager
def lines_from(history: str | None) -> Iterator[Callable[[str], str | None]]:
    """A function that shows a prompt and returns a line, or None at the end of the input.

    Args:
        history: a file that keeps the lines for the next time; None for none.
    Raises:
        RequestError: standard input is closed or no text; or the file cannot be used.
    """
    if sys.stdin is None:
        raise RequestError("standard input: is closed, expected a terminal, a file or a pipe")
    readline = _readline() if is_terminal() else None
    file = Path(history).expanduser() if history is not None else None
    if file is not None and readline is not None:
        _read_history(readline, file)
    try:
        yield _ask if is_terminal() else _next_line
    finally:
        if file is not None and readline is not None:
            _write_history(readline, file)


def _ask(prompt: str) -> str | None:
    try:
        return input(prompt)
    except EOFError:
        return None
    except UnicodeDecodeError as error:
        raise _no_text(error) from None


def _next_line(_prompt: str) -> str | None:
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError as error:
        raise _no_text(error) from None
    return line.removesuffix("\n") if line else None


def _no_text(error: UnicodeDecodeError) -> RequestError:
    return RequestError(
        f"standard input: is not {error.encoding} ({error.reason}), expected text; convert it with "
        f"iconv"
    )


def _readline() -> ModuleType | None:
    """The module that lets input() edit lines; some systems have none."""
    try:
        import readline
    except ImportError:
        return None
    readline.clear_history()
    readline.set_history_length(_MOST_LINES)
    return readline


def _read_history(readline: ModuleType, file: Path) -> None:
    try:
        readline.read_history_file(file)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RequestError(
            f"{file}: cannot be read as a history ({error.strerror}); give another file"
        ) from None


def _write_history(readline: ModuleType, file: Path) -> None:
    """Only its owner may read it: what is typed to a model is private."""
    try:
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600))
        readline.write_history_file(file)
    except OSError as error:
        raise RequestError(f"{file}: the history cannot be kept ({error.strerror})") from None
