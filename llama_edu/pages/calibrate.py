"""Calibration: touch known pages, and accept the instrument only if it reports exactly those.

This makes the lab safe on a kernel, file system or container that was never tested: an instrument
that misses a page, or adds one, is refused on the mapping where it did so.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np

from llama_edu.errors import MeasurementError
from llama_edu.pages.backends.base import Backend, Reading


def known_patterns(n_pages: int) -> Iterator[tuple[str, np.ndarray]]:
    """Page sets that are easy to get wrong: (description, (n,) page numbers)."""
    yield "nothing", np.zeros(0, np.int64)
    yield "the first page", np.zeros(1, np.int64)
    yield "the last page", np.array([n_pages - 1])
    rng = np.random.default_rng(n_pages)
    scattered = rng.choice(n_pages, min(64, n_pages // 3), replace=False)
    middle = n_pages // 2
    neighbors = [p for p in (middle - 1, middle, middle + 1) if 0 <= p < n_pages]
    mixed = np.unique(np.concatenate([scattered, [0, n_pages - 1], neighbors]))
    yield f"{len(mixed)} scattered pages", mixed
    # again: pages still in the processor's address cache from the first time must be seen too
    yield f"the same {len(mixed)} pages again", mixed


def calibrate(backend: Backend) -> Reading:
    """Check a backend on known pages of its own mapping; returns the last reading.

    Raises MeasurementError, with touched and reported counts, on the first difference.
    """
    reading = Reading(None)
    for what, touched in known_patterns(backend.n_pages):
        backend.arm()
        touch(backend.mapped.mmap, touched)
        reading = backend.read()
        if reading.pages is None:
            break
        reported = np.flatnonzero(reading.pages)
        if not np.array_equal(reported, touched):
            extra = len(np.setdiff1d(reported, touched))
            missing = len(np.setdiff1d(touched, reported))
            raise MeasurementError(
                f"backend {backend.name}: calibration failed: touched {what}, reported "
                f"{len(reported):,} pages ({missing:,} missing, {extra:,} too many)"
            )
    return reading


def touch(mapping: mmap.mmap, pages: np.ndarray) -> int:
    """Read the first byte of each of these pages; returns their sum, so that all are needed."""
    data = np.frombuffer(mapping, np.uint8)
    return int(data[pages * mmap.PAGESIZE].sum(dtype=np.int64))
