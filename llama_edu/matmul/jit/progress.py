"""What is shown while functions are compiled, which takes seconds, once: one line that goes again.

On a terminal it is a line of stderr, erased at the end. In a notebook it is an output of the cell,
emptied at the end, and only where someone looks: a notebook that a program executes (nbclient,
nbconvert, nbval) gets nothing, so its stored outputs do not depend on what was compiled before.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class _Progress:
    """A number of steps, each of which may have to compile something."""

    def __init__(self, what: str, n_steps: int) -> None:
        self._what, self._n_steps, self._step = what, n_steps, 0
        self._show: Callable[[str], None] | None = None

    def next(self) -> None:
        """Another step begins."""
        self._step += 1
        if self._show:
            self.compiles()

    def compiles(self) -> None:
        """Something must be compiled: from now on, the line is shown."""
        if self._show is None:
            self._show = _screen()
        counted = f": {self._step} of {self._n_steps}" if self._n_steps > 1 else ""
        self._show(f"compiling {self._what}, once{counted} ...")

    def end(self) -> None:
        """Take the line away."""
        if self._show:
            self._show("")


#: The steps that are under way; compiling is done by one thread at a time, numba sees to that.
_under_way: list[_Progress] = []


@contextmanager
def steps(what: str, n_steps: int = 1) -> Iterator[Callable[[], None]]:
    """A block that calls compiled functions for the first time.

    Args:
        what: what is compiled, in words; within another block, the outer one's words are shown.
    Yields:
        A function to be called at the beginning of each step.
    """
    progress = _Progress(what, n_steps)
    _under_way.append(progress)
    try:
        yield progress.next
    finally:
        _under_way.remove(progress)
        progress.end()


def compiles() -> None:
    """A function is not on disk and will be compiled now."""
    if _under_way:
        _under_way[0].compiles()


def _screen() -> Callable[[str], None]:
    """Where the line is shown: a function that replaces it, and removes it when given ""."""
    if threading.current_thread() is threading.main_thread():
        notebook = _notebook()
        if notebook is not None:
            return notebook
        if sys.stderr is not None and sys.stderr.isatty():
            return _Terminal().show
    return lambda line: None


class _Terminal:
    """A line of stderr that is written over."""

    def __init__(self) -> None:
        self._width = 0

    def show(self, line: str) -> None:
        """Put this line in the place of the last one."""
        blank = "\r" + " " * self._width + "\r" if self._width else ""
        print(f"{blank}{line}", end="", file=sys.stderr, flush=True)
        self._width = len(line)


def _notebook() -> Callable[[str], None] | None:
    """Show and replace an output of the cell that runs, if someone looks at it; or None.

    IPython is asked and not imported: where a cell runs, it is there. A program that executes a
    notebook tells the kernel that there is no one to ask for input.
    """
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    is_watched = getattr(getattr(shell, "kernel", None), "_allow_stdin", False)
    if not is_watched or "IPython.display" not in sys.modules:
        return None
    handle = sys.modules["IPython.display"].display({"text/plain": ""}, raw=True, display_id=True)

    def show(line: str) -> None:
        handle.update({"text/plain": line} if line else {}, raw=True)

    return show
