"""--no-mmap: every command that computes from weights can do it without a mapping."""

from __future__ import annotations

import numpy as np
import pytest

from llama_edu.files.mapped import MappedFile

COMPUTING = {
    "generate": ["generate", "M", "--n-tokens", "3", "--temperature", "0", "--kernels", "numpy"],
    "logits": ["logits", "M", "--tokens", "1,5", "--out", "x.npy"],
    "perplexity": ["perplexity", "M", "--text-file", "story"],
    "compare": ["compare", "m.bin", "m.bin"],
}
#: Commands that read no weights, or read them once.
NEVER = {
    "tokenize": ["tokenize", "M", "the"],
    "inspect": ["inspect", "m.bin"],
    "inspect --hex": ["inspect", "m.bin", "--hex", "9"],
    "convert": ["convert", "M", "out.gguf", "--to", "gguf"],
}


@pytest.fixture
def filled(model, in_folder):
    (in_folder / "story").write_text("the fox and the")
    return lambda words: [part for word in words for part in (model if word == "M" else [word])]


@pytest.fixture
def refuse_to_map(monkeypatch):
    def refuse(self, private):
        raise AssertionError(f"{self.path.name} is mapped")

    return lambda: monkeypatch.setattr(MappedFile, "_map", refuse)


@pytest.mark.parametrize("command", COMPUTING)
def test_no_mmap_maps_nothing_and_changes_no_answer(run_cli, filled, refuse_to_map, command):
    arguments = filled(COMPUTING[command])
    mapped = run_cli(*arguments)
    saved = np.load("x.npy") if command == "logits" else None
    refuse_to_map()
    assert run_cli(*arguments, "--no-mmap") == mapped and mapped[0] == 0
    if saved is not None:
        np.testing.assert_array_equal(np.load("x.npy"), saved)
    with pytest.raises(AssertionError, match=r"m\.bin is mapped"):
        run_cli(*arguments)


@pytest.mark.parametrize("command", NEVER)
def test_other_commands_map_nothing_anyway(run_cli, filled, refuse_to_map, command):
    refuse_to_map()
    assert run_cli(*filled(NEVER[command]))[0] == 0
