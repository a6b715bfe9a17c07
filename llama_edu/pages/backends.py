"""The ways to see which pages were touched, best first, and how one of them is chosen.

A backend owns the mapping that it measures. It is opened (or refuses, in words), calibrated on
known pages of that very mapping, and only then believed. The order and what each one can do:

| name | sees | needs |
|---|---|---|
| uffd | page table entries, where a fault makes only one | Linux 6.7, userfaultfd |
| one-page | the same, by memory areas of one page | fewer pages than vm.max_map_count |
| private-copy | accessed bits of a copy (prefetched pages too) | memory for a second copy |
| mincore | pages that an evicted file gained in the page cache | owner or write permission |
| faults | fault counters, no pages | nothing |
"""

from __future__ import annotations

import abc
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from llama_edu.errors import MeasurementError, RequestError
from llama_edu.files.mapped import MappedFile
from llama_edu.pages.arithmetic import n_pages_of


@dataclass(frozen=True)
class Reading:
    """What a backend saw between `arm` and `read`.

    Attributes:
        pages: (n_pages,) bool, or None from a backend that sees no pages.
        missed: reasons why touched pages may not be in it.
        added: reasons why pages may be in it that were not touched.
        notes: what else the reader should know.
    """

    pages: np.ndarray | None
    missed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Backend(abc.ABC):
    """One way of seeing touched pages, on a mapping of its own.

    Opening raises MeasurementError where this machine, user or file does not allow it. `mapped`
    gives the views; only what is read through them is seen.
    """

    #: The name by which it is asked for.
    name: ClassVar[str]
    #: What it looks at, in a few words.
    sees: ClassVar[str]
    #: How its own way of working changes the number of page faults, for the naive figure.
    effect_on_faults: ClassVar[str]

    #: Whether every touched page causes a fault of its own, so that faults show an order.
    one_fault_per_page: ClassVar[bool] = False

    mapped: MappedFile

    @abc.abstractmethod
    def __init__(self, path: Path) -> None: ...

    @property
    def n_pages(self) -> int:
        """Pages of the mapping."""
        return n_pages_of(self.mapped.n_bytes, mmap.PAGESIZE)

    @abc.abstractmethod
    def arm(self) -> None:
        """Forget all touches so far. MeasurementError when some cannot be forgotten."""

    @abc.abstractmethod
    def read(self) -> Reading:
        """The pages touched since `arm`."""

    def close(self) -> None:
        """Unmap. BufferError when views are still held."""
        self.mapped.close()


class FaultsOnly(Backend):
    """Sees no pages: the fallback where nothing better is allowed, and the 2023 way of looking."""

    name = "faults"
    sees = "fault counters only, no pages"
    effect_on_faults = "this mapping is plain, so these are the faults that any program would have"

    def __init__(self, path: Path) -> None:
        self.mapped = MappedFile(path, private=True)

    def arm(self) -> None:
        """Drop the page table entries, where that can be done, so that faults happen again."""
        from llama_edu.pages import kernel

        if hasattr(mmap, "MADV_DONTNEED"):
            kernel.advise(self.mapped.mmap, "MADV_DONTNEED")

    def read(self) -> Reading:
        """No pages."""
        return Reading(None, notes=("fault counters cannot tell which pages were touched",))


def _order() -> tuple[type[Backend], ...]:
    # here and not at the top: the siblings import this module
    from llama_edu.pages.accessed_bits import PrivateCopyBits
    from llama_edu.pages.cache_bits import CacheBits
    from llama_edu.pages.present_bits import OnePageAreas, WriteProtectAsync

    return (WriteProtectAsync, OnePageAreas, PrivateCopyBits, CacheBits, FaultsOnly)


def backend_names() -> tuple[str, ...]:
    """Names of all backends, best first."""
    return tuple(b.name for b in _order())


def open_backend(
    path: Path, name: str, calibrate: Callable[[Backend], object]
) -> tuple[Backend, dict[str, str]]:
    """The backend of this name, or for "auto" the best one that opens and passes calibration.

    Returns:
        the backend, and the reason of each better one that was refused.
    Raises:
        MeasurementError: the named backend was refused.
        RequestError: there is no backend of this name.
    """
    order = _order()
    if name != "auto":
        order = tuple(b for b in order if b.name == name)
        if not order:
            raise RequestError(
                f"backend {name!r}: unknown, expected auto or one of {', '.join(backend_names())}"
            )
    refused: dict[str, str] = {}
    for kind in order:
        backend = None
        try:
            backend = kind(path)
            calibrate(backend)
        except MeasurementError as error:
            if backend is not None:
                backend.close()
            if name != "auto":
                raise MeasurementError(f"backend {name}: refused: {error}") from None
            refused[kind.name] = str(error)
        else:
            return backend, refused
    raise AssertionError("the last backend is never refused")
