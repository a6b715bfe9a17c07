"""Our tensor names and those of other dialects, in one table.

Our name -> the names of Meta (also in ggml, ggmf and ggjt files), Hugging Face and GGUF. `{i}`
stands for the layer. In files, all these names end in ".weight".
"""

from __future__ import annotations

import re
from typing import Literal

Dialect = Literal["meta", "huggingface", "gguf"]

_COLUMNS: dict[Dialect, int] = {"meta": 0, "huggingface": 1, "gguf": 2}

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
}  # fmt: skip

_TO_OURS: dict[Dialect, dict[str, str]] = {
    dialect: {foreign[column]: ours for ours, foreign in _TABLE.items()}
    for dialect, column in _COLUMNS.items()
}

#: A layer number between dots, without leading zeros, so that names map one to one.
_LAYER = re.compile(r"(?<=\.)(0|[1-9][0-9]{0,8})(?=\.)")


def to_ours(name: str, dialect: Dialect) -> str | None:
    """Our name for a dialect's name, or None if no LLaMA has such a tensor."""
    stem = name.removesuffix(".weight")
    if stem == name:
        return None
    layer = _LAYER.search(stem)
    template = _LAYER.sub("{i}", stem, count=1)
    ours = _TO_OURS[dialect].get(template)
    if ours is None or "{i}" in stem:
        return None
    return ours.replace("{i}", layer.group()) if layer else ours


def from_ours(name: str, dialect: Dialect) -> str:
    """A dialect's name, with ".weight", for one of our tensors. KeyError for any other name."""
    layer = _LAYER.search(name)
    template = _LAYER.sub("{i}", name, count=1)
    foreign = _TABLE[template][_COLUMNS[dialect]]
    return (foreign.replace("{i}", layer.group()) if layer else foreign) + ".weight"
