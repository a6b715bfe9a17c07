"""Small random models as GGUF files in each layout, made by convert()."""

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

#: Rows of all matrices are whole blocks of 32.
SIZES = {"dim": 64, "hidden_dim": 160, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2}


def plain_gguf(folder: Path, kind: str = "f16", *, tied: bool = False, seed: int = 5, **sizes):
    """A model of random weights as a plain GGUF file."""
    config = small_config(**{**SIZES, **sizes})
    weights = random_weights(config, np.random.default_rng(seed), tied=tied)
    weights = {n: w * np.float32(0.3) if w.ndim == 2 else w for n, w in weights.items()}
    source, tokenizer = folder / "source.bin", folder / "tokenizer.bin"
    source.write_bytes(llama2c_v0(config, weights))
    tokenizer.write_bytes(tokenizer_bin(small_vocabulary()))
    path = folder / f"plain-{kind}-{seed}.gguf"
    convert(source, path, to="gguf", type=kind, tokenizer=tokenizer)
    return path


def some_order(n_layers: int = 2, hidden_dim: int = 160, seed: int = 1) -> np.ndarray:
    """(n_layers, hidden_dim) int64, another permutation for each layer."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(hidden_dim) for _ in range(n_layers)])
