"""Our tensor names and those of other dialects, in one table.

Our name -> the names of Meta (also in ggml, ggmf and ggjt files), Hugging Face and GGUF. `{i}`
stands for the layer and `{e}` for the expert. In files, all these names end in ".weight".
"""

from __future__ import annotations

import re
from typing import Literal

Dialect = Literal["meta", "huggingface", "gguf"]

_COLUMNS: dict[Dialect, int] = {"meta": 0, "huggingface": 1, "gguf": 2}

#: "" where a dialect has no such tensor. Experts of GGUF are those of its files before April 2024;
#: `parts/stacked.py` knows the tensors that hold the experts of a whole layer.
_TABLE: dict[str, tuple[str, str, str]] = {
    "token_embedding": ("tok_embeddings", "model.embed_tokens", "token_embd"),
    "final_norm": ("norm", "model.norm", "output_norm"),
    "output": ("output", "lm_head", "output"),
    "layers.{i}.wq": (
        "layers.{i}.attention.wq", "model.layers.{i}.self_attn.q_proj", "blk.{i}.attn_q"),
    "layers.{i}.wk": (
        "layers.{i}.attention.wk", "model.layers.{i}.self_attn.k_proj", "blk.{i}.attn_k"),
    "layers.{i}.wv": (
        "layers.{i}.attention.wv", "model.layers.{i}.self_attn.v_proj", "blk.{i}.attn_v"),
    "layers.{i}.wo": (
        "layers.{i}.attention.wo", "model.layers.{i}.self_attn.o_proj", "blk.{i}.attn_output"),
    "layers.{i}.w_gate": (
        "layers.{i}.feed_forward.w1", "model.layers.{i}.mlp.gate_proj", "blk.{i}.ffn_gate"),
    "layers.{i}.w_down": (
        "layers.{i}.feed_forward.w2", "model.layers.{i}.mlp.down_proj", "blk.{i}.ffn_down"),
    "layers.{i}.w_up": (
        "layers.{i}.feed_forward.w3", "model.layers.{i}.mlp.up_proj", "blk.{i}.ffn_up"),
    "layers.{i}.attention_norm": (
        "layers.{i}.attention_norm", "model.layers.{i}.input_layernorm", "blk.{i}.attn_norm"),
    "layers.{i}.ffn_norm": (
        "layers.{i}.ffn_norm", "model.layers.{i}.post_attention_layernorm", "blk.{i}.ffn_norm"),
    "layers.{i}.router": (
        "", "model.layers.{i}.block_sparse_moe.gate", "blk.{i}.ffn_gate_inp"),
    "layers.{i}.experts.{e}.w_gate": (
        "", "model.layers.{i}.block_sparse_moe.experts.{e}.w1", "blk.{i}.ffn_gate.{e}"),
    "layers.{i}.experts.{e}.w_down": (
        "", "model.layers.{i}.block_sparse_moe.experts.{e}.w2", "blk.{i}.ffn_down.{e}"),
    "layers.{i}.experts.{e}.w_up": (
        "", "model.layers.{i}.block_sparse_moe.experts.{e}.w3", "blk.{i}.ffn_up.{e}"),
}  # fmt: skip

_TO_OURS: dict[Dialect, dict[str, str]] = {
    dialect: {foreign[column]: ours for ours, foreign in _TABLE.items() if foreign[column]}
    for dialect, column in _COLUMNS.items()
}
#: Where the experts of a layer are one tensor, transformers gives their router this name.
_TO_OURS["huggingface"]["model.layers.{i}.mlp.gate"] = "layers.{i}.router"

#: A number between dots or after the last, without leading zeros, so that names map one to one.
_NUMBER = re.compile(r"(?<=\.)(0|[1-9][0-9]{0,8})(?=\.|$)")


def to_ours(name: str, dialect: Dialect) -> str | None:
    """Our name for a dialect's name, or None if no LLaMA has such a tensor."""
    stem = name.removesuffix(".weight")
    if stem == name or "{" in stem:
        return None
    template, numbers = numbered(stem)
    ours = _TO_OURS[dialect].get(template)
    return None if ours is None else ours.format(**numbers)


def from_ours(name: str, dialect: Dialect) -> str:
    """A dialect's name, with ".weight", for one of our tensors. KeyError for any other name."""
    template, numbers = numbered(name)
    foreign = _TABLE[template][_COLUMNS[dialect]]
    if not foreign:
        raise KeyError(f"{name} has no name in {dialect}")
    return foreign.format(**numbers) + ".weight"


def numbered(name: str) -> tuple[str, dict[str, str]]:
    """A name with its first number as "{i}" and its second as "{e}", and these numbers."""
    numbers = dict(zip("ie", _NUMBER.findall(name), strict=False))
    places = iter(numbers)
    return _NUMBER.sub(
        lambda found: f"{{{p}}}" if (p := next(places, "")) else found[0], name
    ), numbers
