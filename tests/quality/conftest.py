"""Two small files of one vocabulary, and a text that they can cut."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.two_files import write_two_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """a.gguf and b.gguf, whose weights differ a little; tokenizer.bin and text.txt."""
    return write_two_files(tmp_path_factory.mktemp("two files"), np.random.default_rng(5))
