"""Standard output whose errors can be told apart from all other errors.

A reader that has ended (`llama-edu inspect m.bin | head -1`) is not an error; a full disk is one.
Python reports both as an OSError in the code that prints, or when the interpreter exits, where
nothing can catch it.
A character that the output's encoding does not have (cp1252 has no Greek) is printed as its escape.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from io import TextIOWrapper
from typing import TextIO

from llama_edu.errors import LlamaEduError
from llama_edu.text import visible_lines


class OutputError(LlamaEduError):
    """Standard output cannot be written: closed, or its disk is full."""


class ReaderGone(Exception):
    """The process that read standard output has ended."""


@contextmanager
def guarded_stdout() -> Iterator[None]:
    """A block whose output has all been written when it ends.

    Raises:
        OutputError: the output could not be written. ReaderGone: its reader has ended. After
            either, what is left in the buffers is discarded.
    """
    stream = sys.stdout
    if stream is None:  # the descriptor was closed when the process began
        raise OutputError("standard output: is closed, expected a terminal, a file or a pipe")
    try:
        with redirect_stdout(_Guarded(stream)), _escapes_in(stream):
            try:
                yield
            finally:
                sys.stdout.flush()  # the interpreter would do it later, with a traceback
    except (OutputError, ReaderGone):
        # the interpreter flushes once more when it exits
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        raise


def for_output(text: str) -> str:
    """A model's text as it is printed: on a terminal without what would command it."""
    if not sys.stdout.isatty():
        return text
    return "\t".join(visible_lines(part) for part in text.split("\t"))


@contextmanager
def _escapes_in(stream: TextIO) -> Iterator[None]:
    """Let a stream write the escape of what it cannot encode."""
    if stream.errors != "strict" or not isinstance(stream, TextIOWrapper):
        yield
        return
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with suppress(OSError):  # it flushes; what could not be written was said
            stream.reconfigure(errors="strict")


class _Guarded:
    """A text stream that raises OutputError or ReaderGone in place of an OSError."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with _translated():
            return self._stream.write(text)

    def flush(self) -> None:
        with _translated():
            self._stream.flush()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise ReaderGone from error
    except OSError as error:
        raise OutputError(f"standard output: cannot be written ({error.strerror})") from error
