"""A cell that is run again stops the text that its widget from the time before still writes.

The old widget is off the page then, and with it its Stop button; without this its thread would go
on to the end of its text, unseen.
"""

from __future__ import annotations

import sys
import weakref
from typing import Protocol

#: Cell -> the run of it that made widgets last, and those widgets.
_made: dict[str, tuple[str, weakref.WeakSet]] = {}


class Stoppable(Protocol):
    """What can be told to end."""

    def stop(self) -> None:
        """End before the next step."""


def stop_predecessors(widget: Stoppable) -> None:
    """Stop the widgets that an earlier run of the current cell made, and remember this one.

    Does nothing outside a notebook, or where the front-end does not say which cell runs.
    """
    cell, run = _cell_and_run()
    if not cell:
        return
    previous_run, widgets = _made.get(cell, ("", weakref.WeakSet()))
    if previous_run != run:
        for previous in list(widgets):
            previous.stop()
        widgets = weakref.WeakSet()
    widgets.add(widget)
    _made[cell] = (run, widgets)


def _cell_and_run() -> tuple[str, str]:
    """The front-end's name of the cell that runs and of this run; empty where there is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    get_parent = getattr(shell, "get_parent", None)
    request = get_parent() if get_parent else {}
    cell = request.get("metadata", {}).get("cellId", "")
    return str(cell), str(request.get("header", {}).get("msg_id", ""))
