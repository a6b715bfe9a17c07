"""AccessLog: who wants to know which weights a computation reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class AccessLog(Protocol):
    """Told which weights the forward pass is about to read; `pages.ledger.Ledger` is one."""

    def whole(self, name: str, /) -> None:
        """Every byte of this tensor is needed."""

    def rows(self, name: str, ids: Sequence[int], /) -> None:
        """Only these rows of this tensor are needed."""


class NullLog:
    """An AccessLog that keeps nothing, for a model that is not observed."""

    def whole(self, name: str, /) -> None:
        """Forget it."""

    def rows(self, name: str, ids: Sequence[int], /) -> None:
        """Forget them."""


NO_LOG = NullLog()
