"""Fixtures for the tests of the command line."""

from __future__ import annotations

import pytest
from helpers.small_models import llama2c_v0, small_vocabulary, tokenizer_bin


@pytest.fixture
def model(in_folder, config, weights):
    """The arguments that name a small model in the current folder and its tokenizer."""
    (in_folder / "t.bin").write_bytes(tokenizer_bin(small_vocabulary()))
    (in_folder / "m.bin").write_bytes(llama2c_v0(config, weights))
    return ["m.bin", "--tokenizer", "t.bin"]
