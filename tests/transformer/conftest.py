"""Fixtures for the tests of generation."""

from __future__ import annotations

import pytest
from helpers.small_tokenizers import small_tokenizer


@pytest.fixture
def tokenizer():
    return small_tokenizer()
