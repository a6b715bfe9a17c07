"""The order of the backends, best first, and how one of them is chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from llama_edu.errors import MeasurementError, RequestError
from llama_edu.pages.backends.base import Backend
from llama_edu.pages.backends.faults import FaultsOnly


def _order() -> tuple[type[Backend], ...]:
    # here and not at the top: the siblings import this module
    from llama_edu.pages.backends.mincore import CacheBits
    from llama_edu.pages.backends.one_page import OnePageAreas
    from llama_edu.pages.backends.private_copy import PrivateCopyBits
    from llama_edu.pages.backends.uffd import WriteProtectAsync

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
