"""Fixtures for the tests of `show`."""

from __future__ import annotations

import pytest
from helpers.layered_lab import layered_lab
from helpers.tiny import open_tiny


@pytest.fixture
def llama(tmp_path, rng):
    """The tiny model, loaded."""
    with open_tiny(tmp_path, rng) as model:
        yield model


@pytest.fixture
def lab(tmp_path):
    """A lab on a model of several layers."""
    with layered_lab(tmp_path) as opened:
        yield opened
