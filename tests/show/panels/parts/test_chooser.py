"""The chooser lists data/ and the reader's own folder."""

from __future__ import annotations

import pytest
from helpers.tiny import write_tiny

pytest.importorskip("ipywidgets")
from llama_edu.show.panels.parts.chooser import ModelChooser


def test_the_chooser_lists_data_and_a_folder_of_the_readers(tmp_path, rng):
    model, _ = write_tiny(tmp_path, rng)
    opened = []
    chooser = ModelChooser(lambda path, tokenizer: opened.append((path, tokenizer)))
    labels = [label for label, _ in chooser.models.options]
    assert any(label.startswith("data/stories: ") for label in labels)
    chooser.folder.value = str(tmp_path)
    assert any(label.startswith("tiny.bin: ") for label, _ in chooser.models.options)
    chooser.button.click()
    assert opened == [] and "choose a model" in chooser._message.value
    chooser.models.value = str(model)
    chooser.button.click()
    assert opened == [(str(model), None)] and chooser._message.value == ""
    chooser.folder.value = str(tmp_path / "nowhere")
    assert "nowhere: No such file" in chooser._message.value


def test_the_chooser_lists_models_with_a_name_and_opens_them_by_it(tmp_path, monkeypatch):
    snapshot = tmp_path / "hub" / "models--acme--tiny" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "tiny.gguf").write_bytes(b"GGUF")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    opened = []
    chooser = ModelChooser(lambda path, tokenizer: opened.append(path))
    chooser.models.value = "acme/tiny"
    chooser.button.click()
    assert opened == ["acme/tiny"]
    assert not any(value == "stories" for _, value in chooser.models.options), "it is in data/"
