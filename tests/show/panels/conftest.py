"""Fixtures for the tests of panels."""

from __future__ import annotations

import pytest


@pytest.fixture
def maker():
    """A function that turns a panel class into a function that makes panels with defaults.

    The panels are closed after the test.
    """
    made = []

    def with_defaults(panel, **defaults):
        def make(*args, **kwargs):
            made.append(panel(*args, **(defaults | kwargs)))
            return made[-1]

        return make

    yield with_defaults
    for panel in made:
        panel.close()
