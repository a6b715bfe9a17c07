"""What a panel did so far, and waiting for it."""

from __future__ import annotations

import time


def wait_for(condition):
    """Return as soon as the condition holds; an AssertionError if it does not within 20 seconds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def n_written(panel):
    """How many tokens a panel has chosen in its text."""
    return len(panel.writing.choices) if panel.writing else 0
