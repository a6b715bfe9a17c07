"""fails(): an error that is expected, as the one sentence that it is, not as a traceback.

    with fails():
        llama_edu.load("short.ggjt")

A notebook then looks the same whether its cells are run or read, and it runs on. %debug goes to
where the error was raised, as after any other.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.html import note_html
from llama_edu.text import visible_lines


class Failure:
    """The name of an error and its sentence; a notebook shows them as one line, in red."""

    def __init__(self, error: BaseException) -> None:
        self.text = f"{type(error).__name__}: {error}"

    def __repr__(self) -> str:
        return visible_lines(self.text)

    def _repr_html_(self) -> str:
        return note_html(self.text, is_error=True)


class fails:
    """A `with` block that must end with an error, which is shown and goes no further.

    Any other error goes on, with its traceback: it was not expected.

    Attributes:
        error: what was raised; None until then.
    """

    def __init__(self, kind: type[Exception] = LlamaEduError) -> None:
        """Expect an error of this kind, by default one that this package raises on purpose."""
        self._kind = kind
        self.error: Exception | None = None

    def __enter__(self) -> fails:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Show the error.

        Raises:
            RequestError: there was none.
        """
        if error is None:
            raise RequestError(
                f"fails: the block ended without an error, expected one of kind "
                f"{self._kind.__name__}"
            )
        if not isinstance(error, self._kind):
            return False
        self.error = error
        _remember(error, traceback)
        _show(Failure(error))
        return True


def _remember(error: BaseException, traceback: TracebackType | None) -> None:
    """Keep the error where debuggers look for the last one."""
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, traceback
    if sys.version_info >= (3, 12):
        sys.last_exc = error
    if (shell := _shell()) is not None:  # IPython prefers the last one that it showed itself
        shell.InteractiveTB.tb = traceback


def _show(failure: Failure) -> None:
    if _shell() is None:
        print(failure)
    else:
        from IPython.display import display

        display(failure)


def _shell() -> Any:
    """The running IPython, or None; it is not imported for this."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None
