"""The files that experiments use: the reader's own, or a temporary one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.convert.output_formats import FormatName
from llama_edu.convert.planning import TypeName
from llama_edu.models import locate

#: How many bytes are written at a time.
_CHUNK_BYTES = 8 << 20


@contextmanager
def weight_file(path: str | Path | None, n_bytes: int, folder: str | Path | None) -> Iterator[Path]:
    """The given file, or a temporary one of random bytes in `folder`, synced to disk."""
    if path is not None:
        yield locate(path)
        return
    with tempfile.TemporaryDirectory(dir=folder, prefix="llama_edu_") as made:
        made_file = Path(made) / "random.bin"
        rng = np.random.default_rng(2023)
        with made_file.open("wb") as file:
            for start in range(0, n_bytes, _CHUNK_BYTES):
                file.write(rng.bytes(min(_CHUNK_BYTES, n_bytes - start)))
            file.flush()
            os.fsync(file.fileno())  # pages that are not on disk yet cannot be evicted
        yield made_file


@contextmanager
def model_file(
    path: str | Path | None, to: FormatName = "ggjt-v1", type: TypeName = "f16"
) -> Iterator[Path]:
    """The given checkpoint, or the bundled one as a single file that can be mapped."""
    if path is not None:
        yield locate(path)
        return
    with tempfile.TemporaryDirectory(prefix="llama_edu_") as made:
        made_file = Path(made) / f"stories-{type}{'.gguf' if to == 'gguf' else '.bin'}"
        convert(bundled_checkpoint(), made_file, to=to, type=type)
        yield made_file


def read_through(file: Path) -> None:
    """Read a file once, so that the page cache holds all of it where there is memory for that."""
    with file.open("rb", buffering=0) as opened:
        while opened.read(1 << 20):
            pass
