"""What a checkpoint says, told without the code that conversion compares with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from llama_edu.files.detect import read_checkpoint
from llama_edu.files.vocabularies.detect import read_vocabulary
from llama_edu.loading import load

#: Sizes by the names under which a loss names them.
SIZES = (
    "dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "max_seq_len",
    "norm_eps", "rope_theta", "head_dim",
)  # fmt: skip

_VOCABULARY = (
    "model", "scores", "kinds", "unk_id", "bos_id", "eos_id", "add_bos", "add_space_prefix",
    "add_eos",
)  # fmt: skip

#: Names under which JSON files say what the vocabulary or a key of GGUF says as well.
SAID_TWICE = (
    "bos_token_id", "eos_token_id", "pad_token_id", "add_bos_token", "add_eos_token", "legacy",
    "add_prefix_space",
)  # fmt: skip


def sizes_and_pieces(path: Path, tokenizer: Path | None) -> dict[str, object]:
    """Sizes and the pieces with their ids, by the names of losses.

    Args:
        tokenizer: the vocabulary file that belongs to it, where the file itself has none.
    """
    checkpoint = read_checkpoint(path)
    found: dict[str, object] = {name: getattr(checkpoint.config, name) for name in SIZES}
    found["tied output"] = "output" not in checkpoint.tensors
    vocabulary = read_vocabulary(tokenizer) if tokenizer is not None else checkpoint.vocabulary
    if vocabulary is not None:
        for name in _VOCABULARY:
            value = getattr(vocabulary, name)
            found[f"vocabulary.{name}"] = value.tolist() if hasattr(value, "tolist") else value
        for name in ("doubles_space", "prefixes_every_part"):
            prefix = vocabulary.add_space_prefix
            found[f"vocabulary.{name}"] = prefix and getattr(vocabulary, name)
        found["vocabulary.pieces"] = list(vocabulary.pieces)
        found["vocabulary.merges"] = list(vocabulary.merges)
        if vocabulary.model == "bpe":
            found["vocabulary.pre_tokenizer"] = vocabulary.pre_tokenizer
        found |= _stated_ends(path)
    return found


def _stated_ends(path: Path) -> dict[str, object]:
    """The ids of BOS and EOS in the config.json of a folder, which win over the tokenizer's."""
    config = (path if path.is_dir() else path.parent) / "config.json"
    values = json.loads(config.read_text()) if config.is_file() else {}
    ids = {name: values.get(f"{name[:3]}_token_id") for name in ("bos_id", "eos_id")}
    first = {name: i[0] if isinstance(i, list) else i for name, i in ids.items()}
    return {f"vocabulary.{name}": i for name, i in first.items() if i is not None}


def logits_of(path: Path) -> np.ndarray:
    """(4, vocab_size) what the model computes: weights, rotations and sizes at once."""
    with load(path, kernels="numpy", threads=1) as llama:
        return llama.logits([1, 270, 5, 33])


def gguf_keys(path: Path) -> dict[str, tuple[list[str], object]]:
    """Key -> types and value, by gguf-py."""
    import gguf

    return {
        key: ([t.name for t in field.types], field.contents())
        for key, field in gguf.GGUFReader(path).fields.items()
        if not key.startswith("GGUF.")
    }


def json_keys(folder: Path) -> dict[str, object]:
    """ "config.json:KEY" -> value, of every JSON file that no tokenizer is.

    One file of ours has a config.json inside.
    """
    if folder.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(folder, "numpy") as file:
            inside = json.loads(file.metadata()["config.json"])
        return {f"config.json:{key}": value for key, value in inside.items()}
    return {
        f"{path.name}:{key}": value
        for path in sorted(folder.glob("*.json"))
        if path.name != "tokenizer.json"
        for key, value in json.loads(path.read_text()).items()
    }
