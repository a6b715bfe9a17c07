"""Two small GGUF files of one vocabulary whose weights differ a little, and a text for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.small_models import (
    llama2c_v0,
    random_weights,
    small_config,
    small_vocabulary,
    tokenizer_bin,
)
from llama_edu.convert import convert

TEXT = "the fox told the fox that the sea was far, and the owl sat in the tree. " * 3


def write_two_files(folder: Path, rng: np.random.Generator) -> Path:
    """a.gguf and b.gguf, with a.bin, b.bin, tokenizer.bin and text.txt; returns the folder."""
    config = small_config()
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
