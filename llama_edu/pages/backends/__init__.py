"""The ways to observe which pages were touched, best first, and how one of them is chosen.

| name | sees | needs |
|---|---|---|
| uffd | page table entries, one made per fault | Linux 6.7, userfaultfd |
| one-page | the same, with memory areas of one page | fewer pages than vm.max_map_count |
| private-copy | accessed bits of a copy (prefetched pages too) | memory for a second copy |
| mincore | pages of an evicted file that entered the page cache | owner or write permission |
| faults | fault counters, no pages | nothing |
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llama_edu.errors import MeasurementError, RequestError
from llama_edu.pages.backends.base import Backend
from llama_edu.pages.backends.faults import FaultsOnly
from llama_edu.pages.backends.mincore import CacheBits
from llama_edu.pages.backends.one_page import OnePageAreas
from llama_edu.pages.backends.private_copy import PrivateCopyBits
from llama_edu.pages.backends.uffd import WriteProtectAsync

#: Best first. The last one opens everywhere.
BACKENDS: tuple[type[Backend], ...] = (
    WriteProtectAsync, OnePageAreas, PrivateCopyBits, CacheBits, FaultsOnly,
)  # fmt: skip


def backend_names() -> tuple[str, ...]:
    """Names of all backends, best first."""
    return tuple(backend.name for backend in BACKENDS)


def open_backend(
    path: Path, name: str, calibrate: Callable[[Backend], object]
) -> tuple[Backend, dict[str, str]]:
    """The backend of this name, or for "auto" the best one that opens and passes calibration.

    Args:
        calibrate: raises MeasurementError if the backend does not report known pages.
    Returns:
        the backend, and for each better one the reason why it was refused.
    Raises:
        MeasurementError: the named backend was refused.
        RequestError: there is no backend of this name.
    """
    tried = BACKENDS if name == "auto" else tuple(b for b in BACKENDS if b.name == name)
    if not tried:
        raise RequestError(
            f"backend {name!r}: unknown, expected auto or one of {', '.join(backend_names())}"
        )
    refused: dict[str, str] = {}
    for backend_class in tried:
        backend = None
        try:
            backend = backend_class(path)
            calibrate(backend)
        except MeasurementError as error:
            if backend is not None:
                backend.close()
            if name != "auto":
                raise MeasurementError(f"backend {name}: refused: {error}") from None
            refused[backend_class.name] = str(error)
        else:
            return backend, refused
    raise AssertionError("the last backend is never refused")
