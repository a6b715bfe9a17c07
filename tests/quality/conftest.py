"""Two small files of one vocabulary, and a text that they can cut."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.small_models import (
    llama2c_v0,
    random_weights,
    small_config,
    small_vocabulary,
    tokenizer_bin,
)

from llama_edu.convert import convert

TEXT = "the fox told the fox that the sea was far, and the owl sat in the tree. " * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """a.gguf and b.gguf, whose weights differ a little; tokenizer.bin and text.txt."""
    folder = tmp_path_factory.mktemp("two files")
    config, rng = small_config(), np.random.default_rng(5)
    weights = random_weights(config, rng)
    (folder / "tokenizer.bin").write_bytes(tokenizer_bin(small_vocabulary()))
    (folder / "text.txt").write_text(TEXT)
    for name in ("a", "b"):
        (folder / f"{name}.bin").write_bytes(llama2c_v0(config, weights))
        convert(folder / f"{name}.bin", folder / f"{name}.gguf", to="gguf",
                tokenizer=folder / "tokenizer.bin")  # fmt: skip
        for array in weights.values():
            array += rng.normal(0, 0.05, array.shape).astype(np.float32)
    return folder
