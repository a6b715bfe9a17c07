"""What all ways of observing touched pages have in common.

A backend owns the mapping that it measures. Opening it succeeds or raises the reason why not; it is
then calibrated on known pages of the same mapping, and used only if that succeeds.
"""

from __future__ import annotations

import abc
import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from llama_edu.files.mapped import MappedFile
from llama_edu.pages.arithmetic import n_pages_of


@dataclass(frozen=True)
class Reading:
    """What a backend observed between `arm` and `read`.

    Attributes:
        pages: (n_pages,) bool, or None from a backend that observes no pages.
        missed: known reasons why touched pages are missing from it.
        unsure: reasons why touched pages may be missing unnoticed. If the pages are exactly those
            that the computation reports as read, none is missing.
        added: reasons why it may contain pages that were not touched.
        notes: what else the reader should know.
    """

    pages: np.ndarray | None
    missed: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Backend(abc.ABC):
    """One way of observing touched pages, on a mapping of its own.

    Opening raises MeasurementError if this machine, user or file does not allow it. `mapped`
    provides the views; only what is read through them is observed.
    """

    #: The name that selects it.
    name: ClassVar[str]
    #: What it observes, in a few words.
    sees: ClassVar[str]
    #: How observing changes the number of page faults, which are no naive figure then; "" if it
    #: does not.
    effect_on_faults: ClassVar[str]

    #: Whether every touched page causes its own fault, so that faults show an order.
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
        """Forget all touches so far. MeasurementError if some cannot be forgotten."""

    @abc.abstractmethod
    def read(self) -> Reading:
        """The pages touched since `arm`."""

    def close(self) -> None:
        """Unmap. BufferError if views are still held."""
        self.mapped.close()
