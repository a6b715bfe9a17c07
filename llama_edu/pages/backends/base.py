"""What every way to see touched pages has in common.

A backend owns the mapping that it measures. It is opened or raises why it cannot be, calibrated on
known pages of that very mapping, and only then believed.
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
    """What a backend saw between `arm` and `read`.

    Attributes:
        pages: (n_pages,) bool, or None from a backend that sees no pages.
        missed: reasons why touched pages are not in it, as far as is known.
        unsure: reasons why touched pages may be missing without a sign. Where the pages are just
            those that the computation says it read, none is.
        added: reasons why pages may be in it that were not touched.
        notes: what else the reader should know.
    """

    pages: np.ndarray | None
    missed: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
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
