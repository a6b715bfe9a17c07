"""Pieces of work for other processes, which find them here by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def squared(n):
    """A result that is easy to check."""
    return n * n


def failing_at_3(n):
    """A piece that cannot be done."""
    if n == 3:
        raise ValueError("three is too many")
    return n


def killed_at(number, function, piece):
    """Do the pieces, and end the process at one of them; each is (number, piece)."""
    if piece[0] == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return function(piece)


def told(folder, n):
    """Say in a file that piece n began. Piece 2 ends its process once 4 began; 4 never ends."""
    Path(folder, str(n)).write_text(str(os.getpid()))
    if n == 2:
        until(Path(folder, "4").exists)
        os.kill(os.getpid(), signal.SIGKILL)
    if n == 4:
        time.sleep(600)
    return n, os.getpid()


def until(condition, seconds=60):
    """Wait until something is true; how long does not decide a test."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def faults_of_arrays(n):
    """Page faults while 20 arrays of 4 MiB are made and freed in turn, set up as load() does."""
    import resource

    import numpy as np

    from llama_edu.matmul.heap import keep_freed_memory

    keep_freed_memory()
    for i in range(23):
        if i == 3:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(1 << 20, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
