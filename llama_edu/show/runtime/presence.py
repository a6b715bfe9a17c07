"""Presence: does a page still show a panel? A reader who closes the tab does not press Stop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from llama_edu.show.runtime.optional import import_optional

ipywidgets: Any = import_optional("ipywidgets", "the widgets")
T = TypeVar("T")

#: Seconds between two questions, and how long they may go without an answer.
ASK_INTERVAL_S = 2.0
PATIENCE_S = 10.0


class Presence:
    """Asks whether a page still shows a panel, while a text is written into it.

    The question is an invisible Play control that is switched off and on: on every page that draws
    it, the control counts one step at once, and that is the answer. A closed tab does not answer,
    nor does a panel that is no longer on any page. If no page ever answered (no front end, or
    another kind), nothing is concluded.

    Attributes:
        beacon: the control; it must be among the panel's children.

    Source: PlayModel.animate in ipywidgets, packages/controls/src/widget_int.ts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing has been asked yet.

        A Presence that is made in a notebook's cell finds the kernel's event loop; one that is made
        elsewhere never asks.

        Args:
            clock: returns seconds.
        """
        self.beacon = ipywidgets.Play(
            min=0, max=2**31, interval=86_400_000, tooltip="Answers that a page is open",
            layout=ipywidgets.Layout(display="none"),
        )  # fmt: skip
        self.beacon.observe(self._on_answer, "value")
        self._clock = clock
        self._asked_at = 0.0
        self._silent_since: float | None = None
        self._has_answered = self._is_loop_asked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        with contextlib.suppress(RuntimeError):  # there is none
            self._loop = asyncio.get_running_loop()

    def guard(self, steps: Iterable[T], stop: Callable[[], None]) -> Iterator[T]:
        """The same steps; calls `stop` once a page that answered has gone."""
        self._asked_at, self._silent_since = -ASK_INTERVAL_S, None
        self._has_answered = self._is_loop_asked = False
        try:
            for step in steps:
                yield step
                if self.is_gone:
                    stop()
        finally:
            self.beacon.playing = False

    @property
    def is_gone(self) -> bool:
        """Whether a page that answered before has been silent for too long. Asks when it is time.

        While the kernel runs a cell, answers may wait in its queue: such time does not count.
        """
        if self._loop is None:
            return False
        now = self._clock()
        if now - self._asked_at >= ASK_INTERVAL_S:
            if self._is_loop_asked or self._silent_since is None:
                # the event loop has not run since the last question, or all are answered
                self._silent_since = now
            self._asked_at = now
            self._is_loop_asked = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: the kernel ends
                self._loop.call_soon_threadsafe(self._on_loop)
            self.beacon.playing = False
            self.beacon.playing = True
        silent_since = self._silent_since
        return self._has_answered and silent_since is not None and now - silent_since > PATIENCE_S

    def _on_loop(self) -> None:
        self._is_loop_asked = False

    def _on_answer(self, _change: object) -> None:
        self._has_answered, self._silent_since = True, None
