"""Mixtures of experts in both layouts of GGUF and of Hugging Face, written without the package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from helpers.gguf_by_hand import Gguf
from helpers.huggingface_by_hand import halves_row_by_row, hugging_config
from helpers.small_models import random_weights, small_config, small_vocabulary
from llama_edu.config import ModelConfig

#: How a file may hold the experts: all of a layer in one tensor, or each in its own.
LAYOUTS = ("one tensor", "a tensor each")

_GGUF = {
    "wq": "attn_q", "wk": "attn_k", "wv": "attn_v", "wo": "attn_output", "router": "ffn_gate_inp",
    "attention_norm": "attn_norm", "ffn_norm": "ffn_norm",
}  # fmt: skip
_GGUF_EXPERT = {"w_gate": "ffn_gate", "w_up": "ffn_up", "w_down": "ffn_down"}
_HF = {
    "wq": "self_attn.q_proj", "wk": "self_attn.k_proj", "wv": "self_attn.v_proj",
    "wo": "self_attn.o_proj", "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}  # fmt: skip
_HF_EXPERT = {"w_gate": "w1", "w_down": "w2", "w_up": "w3"}


def mixtral_config(**changes) -> ModelConfig:
    """The small model with 5 experts in each layer, of which 2 compute a token."""
    return small_config(**({"n_experts": 5, "n_experts_per_token": 2} | changes))


def mixtral_weights(config: ModelConfig, seed: int = 8) -> dict[str, np.ndarray]:
    return random_weights(config, np.random.default_rng(seed))


# --- GGUF ---------------------------------------------------------------------------------------


def gguf_tensors(config: ModelConfig, weights, layout: str) -> dict[str, np.ndarray]:
    """GGUF's names -> arrays, outermost axis first."""
    found = {
        "token_embd.weight": weights["token_embedding"],
        "output_norm.weight": weights["final_norm"],
        "output.weight": weights["output"],
    }
    for i in range(config.n_layers):
        for ours, theirs in _GGUF.items():
            found[f"blk.{i}.{theirs}.weight"] = weights[f"layers.{i}.{ours}"]
        for ours, theirs in _GGUF_EXPERT.items():
            each = [weights[f"layers.{i}.experts.{e}.{ours}"] for e in range(config.n_experts)]
            if layout == "one tensor":
                found[f"blk.{i}.{theirs}_exps.weight"] = np.stack(each)
            else:
                found |= {f"blk.{i}.{theirs}.{e}.weight": x for e, x in enumerate(each)}
    return found


def gguf_keys(config: ModelConfig, g: Gguf, **changes: bytes | None) -> list[bytes]:
    """The keys; a change replaces its key (dots spelled __), None drops it."""
    pieces = small_vocabulary(config.vocab_size)
    texts = [f"<{i}>" if i >= 259 else f"<0x{i - 3:02X}>" for i in range(len(pieces))]
    texts[:3] = ["<unk>", "<s>", "</s>"]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (config.vocab_size - 259)
    numbers = {
        "context_length": config.max_seq_len, "embedding_length": config.dim,
        "block_count": config.n_layers, "feed_forward_length": config.hidden_dim,
        "attention.head_count": config.n_heads, "attention.head_count_kv": config.n_kv_heads,
        "expert_count": config.n_experts, "expert_used_count": config.n_experts_per_token,
    }  # fmt: skip
    keys: dict[str, bytes | None] = {
        "general.architecture": g.kv("general.architecture", "string", "llama"),
        **{f"llama.{key}": g.kv(f"llama.{key}", "u32", value) for key, value in numbers.items()},
        "eps": g.kv("llama.attention.layer_norm_rms_epsilon", "f32", config.norm_eps),
        "base": g.kv("llama.rope.freq_base", "f32", config.rope_theta),
        "model": g.kv("tokenizer.ggml.model", "string", "llama"),
        "tokens": g.array("tokenizer.ggml.tokens", "string", texts[: config.vocab_size]),
        "scores": g.array("tokenizer.ggml.scores", "f32", [-float(i) for i in range(len(pieces))]),
        "types": g.array("tokenizer.ggml.token_type", "i32", kinds[: config.vocab_size]),
    }
    keys |= {name.replace("__", "."): value for name, value in changes.items()}
    return [value for value in keys.values() if value is not None]


def gguf_of(
    config: ModelConfig,
    tensors: dict[str, np.ndarray],
    *,
    g: Gguf | None = None,
    types: dict[str, int] | None = None,
    **changes: bytes | None,
) -> bytes:
    """A whole file. Types: name -> 8, for arrays that are the bytes of rows of q8_0."""
    g = g or Gguf()
    infos, data = [], b""
    for name, array in tensors.items():
        number = (types or {}).get(name, 1 if array.dtype == np.float16 else 0)
        shape = array.shape if number < 2 else (*array.shape[:-1], array.shape[-1] // 34 * 32)
        infos.append(g.info(name, shape[::-1], number, len(data)))
        data += array.astype(array.dtype.newbyteorder(g.order)).tobytes()
        data += bytes(-len(data) % 32)
    return g.file(gguf_keys(config, g, **changes), infos, data)


def write_gguf(folder: Path, config, weights, layout: str, **more) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(gguf_of(config, gguf_tensors(config, weights, layout), **more))
    return path


# --- Hugging Face -------------------------------------------------------------------------------


def huggingface_tensors(config: ModelConfig, weights, layout: str) -> dict[str, np.ndarray]:
    found = {
        "model.embed_tokens.weight": weights["token_embedding"],
        "model.norm.weight": weights["final_norm"],
        "lm_head.weight": weights["output"],
    }
    for i in range(config.n_layers):
        for ours, theirs in _HF.items():
            x = weights[f"layers.{i}.{ours}"]
            n_heads = {"wq": config.n_heads, "wk": config.n_kv_heads}.get(ours)
            x = halves_row_by_row(x, n_heads) if n_heads else x
            found[f"model.layers.{i}.{theirs}.weight"] = x
        experts = [
            {kind: weights[f"layers.{i}.experts.{e}.{kind}"] for kind in _HF_EXPERT}
            for e in range(config.n_experts)
        ]
        at, router = f"model.layers.{i}.", weights[f"layers.{i}.router"]
        if layout == "one tensor":
            found[f"{at}mlp.gate.weight"] = router
            found[f"{at}mlp.experts.gate_up_proj"] = np.stack(
                [np.concatenate([x["w_gate"], x["w_up"]]) for x in experts]
            )
            found[f"{at}mlp.experts.down_proj"] = np.stack([x["w_down"] for x in experts])
            continue
        found[f"{at}block_sparse_moe.gate.weight"] = router
        for e, expert in enumerate(experts):
            for ours, theirs in _HF_EXPERT.items():
                name = f"{at}block_sparse_moe.experts.{e}.{theirs}.weight"
                found[name] = expert[ours]
    return found


def mixtral_json(config: ModelConfig, **changes) -> dict:
    """A config.json; a change of ... drops its key."""
    values = hugging_config(config) | {
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral",
        "num_local_experts": config.n_experts, "num_experts_per_tok": config.n_experts_per_token,
        "hidden_act": config.activation, "rope_theta": config.rope_theta,
    }  # fmt: skip
    return {key: value for key, value in (values | changes).items() if value is not ...}


def write_huggingface(folder: Path, config, weights, layout: str, **changes) -> Path:
    """A folder by the safetensors library."""
    from safetensors.numpy import save_file

    made = folder / "hf"
    made.mkdir(exist_ok=True)
    stored = huggingface_tensors(config, weights, layout)
    save_file({n: np.ascontiguousarray(x) for n, x in stored.items()}, made / "model.safetensors")
    (made / "config.json").write_text(json.dumps(mixtral_json(config, **changes)))
    return made
