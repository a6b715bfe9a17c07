"""Fixtures for the tests of Meta's files."""

from __future__ import annotations

import pytest
from helpers.small_models import old_config


@pytest.fixture
def config():
    """Sizes that a model of 2023 can have."""
    return old_config()
