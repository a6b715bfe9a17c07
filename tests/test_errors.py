"""A sentence stays a sentence, whatever a file has put into it."""

from __future__ import annotations

import pytest

from llama_edu import errors

ALL = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, Exception)]


@pytest.mark.parametrize("kind", [e for e in ALL if issubclass(e, errors.LlamaEduError)])
def test_a_long_error_keeps_its_start_and_its_end(kind):
    text = "m.bin: has a name of " + "x" * 70_000 + "; download it again"
    shown = str(kind(text))
    assert len(shown) == 1000
    assert shown.startswith("m.bin: has a name of x") and shown.endswith("; download it again")
    assert str(kind("short")) == "short" and str(kind("x" * 1000)) == "x" * 1000
