"""Models are found by content."""

from __future__ import annotations

import os

import pytest
from helpers.tiny import write_tiny

from llama_edu.bundled import bundled_checkpoint
from llama_edu.errors import RequestError
from llama_edu.show.runtime.found_models import found_models


def test_models_are_told_by_content_and_pipes_are_left_alone(tmp_path, rng):
    model, _ = write_tiny(tmp_path, rng)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\3\0")
    os.mkfifo(tmp_path / "pipe")
    model.rename(tmp_path / "no-suffix")
    found = found_models(tmp_path)
    assert [m.path.name for m in found] == ["no-suffix"]
    assert found[0].line.startswith("no-suffix: llama2.c")
    with pytest.raises(RequestError, match="nowhere: No such file or directory; give a folder"):
        found_models(tmp_path / "nowhere")


def test_a_folder_that_is_one_model_is_listed_itself():
    assert found_models(bundled_checkpoint())[0].path == bundled_checkpoint()
