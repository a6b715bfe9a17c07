"""Calling what may not work on a machine, without ending a notebook's run."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from llama_edu.errors import MeasurementError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def attempt(
    measure: Callable[_Arguments, _Result],
    *args: _Arguments.args,
    **kwargs: _Arguments.kwargs,
) -> _Result | None:
    """Measure, or print a sentence on why this machine cannot, and return None.

    Only a MeasurementError is handled this way; a damaged file or a wrong argument stays an error.
    """
    try:
        return measure(*args, **kwargs)
    except MeasurementError as refused:
        print(f"not measured here: {refused}")
        return None
