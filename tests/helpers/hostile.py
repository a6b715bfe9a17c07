"""Malformed files, each made from a few bytes, and the sentence that each must get.

A case is a name, a function that writes the file or folder into a directory and returns its path,
and a pattern that the error's text must contain. Each format has its own list, in hostile_gguf.py
and its neighbors.
"""

from __future__ import annotations

import re
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pytest

from llama_edu.errors import FormatError
from llama_edu.files.fields import Field
from llama_edu.files.layout import Checkpoint
from llama_edu.files.mapped import MappedFile

#: What a malformed file may cost.
SECONDS, BYTES = 1.0, 200e6


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[Path], Path]
    says: str


def file_case(name: str, says: str, make: Callable[[], bytes], suffix: str) -> Case:
    """A case of one file."""

    def write(folder: Path) -> Path:
        path = folder / f"hostile{suffix}"
        path.write_bytes(make())
        return path

    return Case(name, write, says)


def sparse_case(
    name: str, says: str, head: bytes, suffix: str, n_bytes: int = 10**10, tail: bytes = b""
) -> Case:
    """A case of one file of `n_bytes`, all zeros but its ends, that takes a page on disk."""

    def write(folder: Path) -> Path:
        path = folder / f"sparse{suffix}"
        with path.open("wb") as file:
            file.write(head)
            file.truncate(n_bytes)
            file.seek(n_bytes - len(tail))
            file.write(tail)
        return path

    return Case(name, write, says)


def check_case(case: Case, folder: Path, read: Callable[[Path], object]) -> None:
    """The reader refuses the file with its sentence, at once, and without much memory."""
    path = case.make(folder)
    start = time.process_time()
    with pytest.raises(FormatError) as caught:
        read(path)
    elapsed_s = time.process_time() - start
    tracemalloc.start()  # in a second run, because it slows Python down by much
    try:
        with pytest.raises(FormatError):
            read(path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert re.search(case.says, message), message
    assert message.startswith(str(path))
    assert message.isprintable()
    assert elapsed_s < SECONDS  # of processor time: a hang is the finding, not a slow machine
    assert peak_bytes < BYTES


def check_opens_safely(path: Path, read: Callable[[Path], Checkpoint]) -> Checkpoint | None:
    """Every tensor lies inside a file that is read; None if it is refused, in one clean line."""
    try:
        checkpoint = read(path)
    except FormatError as error:
        assert str(error).isprintable()
        return None
    with MappedFile(path) as mapped:
        for spec in checkpoint.tensors.values():
            assert 0 <= spec.offset <= spec.end <= path.stat().st_size
            view = mapped.view(spec)
            assert view.nbytes == spec.n_bytes
            del view
    return checkpoint


def check_hex_view(path: Path, fields_of: Callable[[Path], Iterable[Field]]) -> None:
    """The fields come in order, have a size and a printable value, and end before the file does."""
    end = 0
    try:
        for field in islice(fields_of(path), 1000):
            assert field.offset >= end and field.n_bytes > 0
            assert field.name.isprintable() and field.value.isprintable()
            end = field.end
    except FormatError as error:
        assert str(error).isprintable()
    assert end <= path.stat().st_size
