"""A cell that is run again stops the text that its earlier widget is still writing.

The earlier widget is off the page then, and so is its Stop button; without this, its thread would
go on to the end of its text, unseen.
"""

from __future__ import annotations

import sys
import weakref
from typing import Protocol

#: Cell -> its last run that made widgets, and those widgets.
_made: dict[str, tuple[str, weakref.WeakSet]] = {}


class Stoppable(Protocol):
    """Anything that can be stopped."""

    def stop(self) -> None:
        """End before the next step."""


def stop_predecessors(widget: Stoppable) -> None:
    """Stop the widgets that an earlier run of the current cell made, and remember this one.

    Does nothing outside a notebook, or if the front end does not send the cell's id.
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
    """The front end's ids of the cell that runs and of this run; empty where it sends none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    get_parent = getattr(shell, "get_parent", None)
    request = get_parent() if get_parent else {}
    cell = request.get("metadata", {}).get("cellId", "")
    return str(cell), str(request.get("header", {}).get("msg_id", ""))
