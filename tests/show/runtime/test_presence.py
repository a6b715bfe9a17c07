"""Whether a page still shows a panel: the questions, the answers, and what silence means."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("ipywidgets")
from llama_edu.show.runtime.presence import PATIENCE_S, Presence


class Scene:
    """A Presence with its own clock and its own page, which answers while it is open."""

    def __init__(self, closes_after):
        self.now, self.n_asked, self.n_stopped = 100.0, 0, 0
        self.is_open, self._closes_after = closes_after > 0, closes_after
        self.presence = Presence(clock=lambda: self.now)
        self.presence.beacon.observe(self._page, "playing")

    def _page(self, change):
        self.n_asked += change["new"]
        if change["new"] and self.is_open:
            self.presence.beacon.value += 1

    async def write(self, n_steps, step_s, *, is_kernel_free=True):
        """How many of `n_steps` steps are made before the text is stopped."""
        n_made = 0
        for _ in self.presence.guard(range(n_steps), self._stop):
            if self.n_stopped:
                break
            n_made += 1
            self.now += step_s
            if n_made == self._closes_after:
                self.is_open = False
            if is_kernel_free:
                await asyncio.sleep(0)
        return n_made

    def _stop(self):
        self.n_stopped += 1


def play(*, closes_after=5, **kwargs):
    """Write while the page closes after `closes_after` steps: the scene, and how many were made."""

    async def scene():
        made = Scene(closes_after)
        return made, await made.write(**kwargs)

    return asyncio.run(scene())


def test_a_text_ends_when_its_page_has_been_silent_for_too_long():
    scene, n_made = play(n_steps=1000, step_s=0.1)
    assert scene.n_stopped and PATIENCE_S < 0.1 * (n_made - 5) < PATIENCE_S + 4
    assert scene.presence.beacon.playing is False


def test_where_no_page_ever_answered_nothing_is_concluded():
    scene, n_made = play(n_steps=1000, step_s=0.1, closes_after=0)
    assert n_made == 1000 and scene.n_stopped == 0 and scene.n_asked > 40


def test_answers_that_wait_behind_a_running_cell_are_not_missed():
    scene, n_made = play(n_steps=1000, step_s=0.1, is_kernel_free=False)
    assert n_made == 1000 and scene.n_stopped == 0 and scene.n_asked > 40


def test_a_page_that_answers_is_there_however_slow_the_model_is():
    scene, n_made = play(n_steps=20, step_s=3 * PATIENCE_S, closes_after=99)
    assert n_made == 20 and scene.n_stopped == 0 and scene.n_asked == 20


def test_without_a_kernel_nothing_is_asked():
    presence = Presence(clock=lambda: 1e6)
    asked = []
    presence.beacon.observe(asked.append, "playing")
    assert list(presence.guard("text", asked.append)) == ["t", "e", "x", "t"]
    assert asked == []
