"""Which files of a repository are one model, by their names."""

from __future__ import annotations

import pytest

from llama_edu.models.weight_sets import set_of, weight_sets


def chosen(*files: str) -> list[str]:
    return [each.chosen_by for each in weight_sets(files)]


def test_parts_come_with_the_first_one_last():
    """A broken download then has no part by which the folder could be taken for a model."""
    files = [f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3)]
    (found,) = weight_sets([*files, "config.json", "tokenizer.json"])
    assert found.weights == tuple(reversed(files)) and found.companions[0] == "config.json"
    assert found.is_complete and found.has_vocabulary and found.opens == ""
    (cut,) = weight_sets([files[0], files[2], "config.json"])
    assert not cut.is_complete and not cut.has_vocabulary


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["a.gguf", "b.gguf"], ["a.gguf", "b.gguf"]),
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["model.safetensors", "consolidated.safetensors"], ["model.safetensors"]),
        (["consolidated.safetensors"], ["consolidated.safetensors"]),
        (["pytorch_model-00001-of-00001.bin", "training_args.bin"],
         ["pytorch_model-00001-of-00001.bin"]),
        (["consolidated.00.pth", "consolidated.01.pth"], ["consolidated.00.pth"]),
        (["model.safetensors", "original/consolidated.00.pth"], ["model.safetensors"]),
        (["adapter_model.safetensors", "x.gguf"], ["x.gguf"]),
        (["Q4/a-00001-of-00002.gguf", "Q4/a-00002-of-00002.gguf", "Q8/a.gguf"],
         ["Q4/a-00001-of-00002.gguf", "Q8/a.gguf"]),
        (["stories15M.bin", "stories15M.pt", "optimizer.bin"], ["stories15M.bin", "stories15M.pt"]),
        (["README.md", "model.py", "config.json"], []),
    ],
)  # fmt: skip
def test_what_a_repository_offers(files, expected):
    assert chosen(*files) == expected


def test_a_file_brings_the_model_to_which_it_belongs():
    files = ["config.json", "model.safetensors", "original/params.json", "original/tokenizer.model",
             "original/consolidated.00.pth", "original/consolidated.01.pth"]  # fmt: skip
    meta = set_of(files, "original/consolidated.00.pth")
    assert meta.opens == "original" and meta.weights[-1] == "original/consolidated.00.pth"
    assert meta.companions == ("original/params.json", "original/tokenizer.model")
    assert set_of(files, "original/tokenizer.model").opens == "original/tokenizer.model"
