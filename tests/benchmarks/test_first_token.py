"""First token, from nothing: seconds of a process of its own, and no numbers without tokens."""

from __future__ import annotations

import pytest
from helpers.small_models import small_config

from benchmarks import first_token
from tools.make_random_model import write_random_model


def test_the_second_token_comes_after_the_first(tmp_path):
    path = tmp_path / "m.gguf"
    write_random_model(path, small_config(), "f16")
    first_s, second_s = first_token._seconds(path, "numpy", "float32", str(tmp_path))
    assert 0 < first_s < second_s


def test_a_process_that_fails_gives_no_number(tmp_path, capfd):
    with pytest.raises(RuntimeError, match="the process ended with 1 after 0 tokens"):
        first_token._seconds(tmp_path / "none.gguf", "numpy", "float32", str(tmp_path))
    assert "no such file" in capfd.readouterr().err


def test_without_numba_the_chapter_says_so(monkeypatch):
    monkeypatch.setattr(first_token, "find_spec", lambda name: None)
    assert first_token.run().startswith("numba is missing from this run")
