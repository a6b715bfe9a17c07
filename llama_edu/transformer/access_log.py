"""AccessLog: the interface through which a computation reports which weights it reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class AccessLog(Protocol):
    """Receives the names of weights before they are read; `pages.ledger.Ledger` is one."""

    def whole(self, name: str, /) -> None:
        """Every byte of this tensor is needed."""

    def rows(self, name: str, ids: Sequence[int] | np.ndarray, /) -> None:
        """Only these rows of this tensor are needed."""

    def columns(self, name: str, ids: Sequence[int] | np.ndarray, /) -> None:
        """Only what is stored of these columns is needed, with whatever shares a block with it."""


class NullLog:
    """An AccessLog that records nothing, for a model that is not observed."""

    def whole(self, name: str, /) -> None:
        """Do nothing."""

    def rows(self, name: str, ids: Sequence[int] | np.ndarray, /) -> None:
        """Do nothing."""

    def columns(self, name: str, ids: Sequence[int] | np.ndarray, /) -> None:
        """Do nothing."""


NO_LOG = NullLog()
