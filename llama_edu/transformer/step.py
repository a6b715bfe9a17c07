"""What stands around every call of forward(): whose weights may be computed with, and how.

A mapped file is not a copy. A program that truncates it or writes over it changes the weights of a
running model, so its files are checked before each step, and again before the result is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from llama_edu.matmul.blas import blas_threads
from llama_edu.transformer.model import Model


@contextmanager
def step(model: Model) -> Iterator[None]:
    """A block that computes one chunk, with BLAS set to the model's number of threads.

    Infinities and NaN from damaged weights give no warning here; they show in the scores.

    Raises:
        FormatError: the bytes of a mapped file changed, before the block or while it ran.
    """
    with (
        unchanged_files(model),
        blas_threads(model.blas_threads),
        np.errstate(over="ignore", invalid="ignore"),
    ):
        yield


@contextmanager
def unchanged_files(model: Model) -> Iterator[None]:
    """A block that reads weights. FormatError: a mapped file changed, before it or while it ran."""
    model.check_files()
    yield
    model.check_files()
