"""A model that notebooks must run on too: grouped heads, tied output, byte-level pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.every_source import N_PIECES, add_sizes, bpe_pieces, gguf_name
from helpers.small_models import random_weights, small_config

#: Sizes that all differ; rows are whole blocks of 32. No format of 2023 can hold it.
SIZES = {
    "dim": 96, "hidden_dim": 160, "n_layers": 4, "n_heads": 6, "n_kv_heads": 2,
    "vocab_size": N_PIECES, "max_seq_len": 2048,
}  # fmt: skip


def write_course_model(path: Path, rng: np.random.Generator) -> Path:
    """Write it as GGUF, by gguf-py, with random weights in f16 and without a chat template."""
    import gguf as library

    config = small_config(**SIZES)
    w = library.GGUFWriter(path, "llama")
    add_sizes(w, config)
    texts, merges, kinds = bpe_pieces()
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(texts)
    w.add_token_types(kinds)
    w.add_token_merges(merges)
    w.add_bos_token_id(270)
    w.add_eos_token_id(271)
    w.add_add_bos_token(False)
    for name, array in random_weights(config, rng, tied=True).items():
        # weights as large as trained ones: random text, but no overflow
        small = array if array.ndim == 1 else array / 4
        w.add_tensor(gguf_name(name), small.astype(np.float32 if array.ndim == 1 else np.float16))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path
