"""Fixtures for the tests of `show`."""

from __future__ import annotations

import pytest
from helpers.tiny import open_tiny


@pytest.fixture
def llama(tmp_path, rng):
    """The tiny model, loaded."""
    with open_tiny(tmp_path, rng) as model:
        yield model
