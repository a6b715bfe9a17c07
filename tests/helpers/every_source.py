"""A small checkpoint of every format that can be read, with as much beside its weights as fits.

`draw` chooses: given a list, one of its elements. What a source says is said on purpose in ways
that differ from every default.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from helpers.huggingface_by_hand import hugging_config, to_huggingface
from helpers.small_models import (
    ggml_file,
    llama2c_v0,
    old_config,
    random_weights,
    sentencepiece_vocabulary,
    small_vocabulary,
    tokenizer_bin,
    train_sentencepiece,
    write_ggml_shards,
    write_meta_folder,
)
from llama_edu.files.vocabularies.byte_level import CHARACTER_OF
from llama_edu.rope import llama3_divisors

Draw = Callable[[list], object]

N_PIECES = 300
_TEMPLATE = "{% for m in messages %}{{ m.content }}<|done|>{% endfor %}"


def _config(draw: Draw, **changes):
    """Sizes that every format can hold, or some that only later formats can."""
    new = draw([{}, {}, {"rope_theta": 5e5}, {"norm_eps": 1e-5}, {"n_kv_heads": 2}])
    context = draw([2048, 64])
    return old_config(**{"vocab_size": N_PIECES, "max_seq_len": context, **new, **changes})


@cache
def _tokenizer_model() -> bytes:
    return train_sentencepiece(N_PIECES)


# --- vocabularies -------------------------------------------------------------------------------


def spm_pieces(draw: Draw) -> tuple[list[str], list[float], list[int]]:
    """Texts, scores and kinds as GGUF spells them; some control and user-defined pieces between."""
    texts = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    texts += ["\u2581", *"etahrnios", "\u2581t", "he", "\u2581the", "er", "\u2581a", "in"]
    texts += ["[ASK]", "<|done|>", "<pad>", "[KEEP]", "unused"]
    texts += [f"x{i}" for i in range(N_PIECES - len(texts))]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (N_PIECES - 259)
    for name, kind in (("[ASK]", 3), ("<|done|>", 3), ("<pad>", 3), ("[KEEP]", 4), ("unused", 5)):
        kinds[texts.index(name)] = draw([kind, 1])
    return texts, [-float(i) / 3 for i in range(N_PIECES)], kinds


def bpe_pieces() -> tuple[list[str], list[str], list[int]]:
    """Texts, merges and kinds of a byte-level vocabulary."""
    texts = [CHARACTER_OF[byte] for byte in range(256)]
    merges = ["h e", "t he", "\u0120 the", "i n", "e r"]
    texts += [merge.replace(" ", "") for merge in merges]
    kinds = [1] * len(texts)
    special = [f"<|special_{i}|>" for i in range(N_PIECES - len(texts))]
    kinds += [3] * (len(special) - 1) + [4]
    return texts + special, merges, kinds


# --- GGUF ---------------------------------------------------------------------------------------


def add_sizes(writer, config) -> None:
    """The sizes of a model, to gguf-py's writer."""
    writer.add_context_length(config.max_seq_len)
    writer.add_embedding_length(config.dim)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.hidden_dim)
    writer.add_head_count(config.n_heads)
    writer.add_head_count_kv(config.n_kv_heads)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_freq_base(config.rope_theta)


def gguf(folder: Path, rng, draw: Draw, *, bpe: bool = False) -> Path:
    """A file by gguf-py, with every type of value and keys that no LLaMA needs."""
    import gguf as library

    config = _config(draw)
    if bpe and config.n_heads == config.n_kv_heads:
        config = _config(draw, dim=256, hidden_dim=64, n_heads=2, n_kv_heads=1, n_layers=1)
    path = folder / "source.gguf"
    w = library.GGUFWriter(path, "llama")
    add_sizes(w, config)
    w.add_key_length(config.head_dim)
    if draw([False, True]):
        w.add_rope_scaling_type(library.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(4.0)
    for add, value in (
        (w.add_name, "Heron"), (w.add_author, "Ann"), (w.add_license, "mit"),
        (w.add_languages, ["en", "de"]), (w.add_chat_template, _TEMPLATE),
        (w.add_add_eos_token, True), (w.add_eot_token_id, N_PIECES - 2),
        (w.add_pad_token_id, N_PIECES - 1),
    ):  # fmt: skip
        if draw([True, True, False]):
            add(value)
    w.add_uint8("test.u8", 200)
    w.add_int64("test.i64", -(2**40))
    w.add_float64("test.f64", 0.1)
    w.add_bool("test.flag", True)
    w.add_array("test.numbers", [1.5, -2.5])
    if bpe:
        texts, merges, kinds = bpe_pieces()
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre(str(draw(["llama-bpe", "smollm", "gpt-2", "llama3"])))
        w.add_token_list(texts)
        w.add_token_types(kinds)
        w.add_token_merges(merges)
        if draw([True, False]):
            w.add_bos_token_id(270)
            w.add_eos_token_id(271)
    else:
        texts, scores, kinds = spm_pieces(draw)
        w.add_tokenizer_model("llama")
        w.add_token_list(texts)
        w.add_token_scores(scores)
        w.add_token_types(kinds)
        ends = draw([(1, 2), (1, texts.index("<|done|>")), (1, N_PIECES), (1, 2**32 - 1)])
        w.add_bos_token_id(ends[0])
        w.add_eos_token_id(ends[1])
        w.add_add_space_prefix(bool(draw([True, False])))
    w.add_add_bos_token(bool(draw([True, False])))
    weights = random_weights(config, rng, tied=bool(draw([False, True])))
    for name, array in weights.items():
        w.add_tensor(gguf_name(name), array)
    if draw([False, True]):
        w.add_tensor("rope_freqs.weight", _divisors(config, draw))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return path


def _divisors(config, draw: Draw) -> np.ndarray:
    """Llama 3.1's, or others that follow no rule."""
    from dataclasses import replace

    from llama_edu.config import RopeScaling

    scaled = replace(config, rope_scaling=RopeScaling("llama3", 8.0))
    other = np.linspace(1, 3, config.head_dim // 2, dtype=np.float32)
    return llama3_divisors(scaled) if draw([True, False]) else other


def gguf_name(name: str) -> str:
    """Our name of a weight -> that of a GGUF file."""
    outer = {"token_embedding": "token_embd", "final_norm": "output_norm", "output": "output"}
    if name in outer:
        return f"{outer[name]}.weight"
    _, layer, kind = name.split(".")
    inner = {
        "wq": "attn_q", "wk": "attn_k", "wv": "attn_v", "wo": "attn_output", "w_gate": "ffn_gate",
        "w_up": "ffn_up", "w_down": "ffn_down", "attention_norm": "attn_norm",
        "ffn_norm": "ffn_norm",
    }  # fmt: skip
    return f"blk.{layer}.{inner[kind]}.weight"


# --- Hugging Face -------------------------------------------------------------------------------


def huggingface(folder: Path, rng, draw: Draw, *, bpe: bool = False) -> Path:
    """A folder by the safetensors library, with all the small files that say how it is used."""
    from safetensors.numpy import save_file

    config = _config(draw)
    tied = bool(draw([False, True]))
    stored = to_huggingface(config, random_weights(config, rng, tied=tied))
    if tied and draw([False, True]):
        stored["lm_head.weight"] = stored["model.embed_tokens.weight"].copy()
    made = folder / "hf"
    made.mkdir()
    save_file(stored, made / "model.safetensors", metadata={"format": "pt", "author": "Ann"})
    more = {
        "bos_token_id": 1, "eos_token_id": draw([2, [2, 297], [2, 296, 297], [9, 8, 7, 6]]),
        "pad_token_id": draw([None, 299]), "use_cache": True, "initializer_range": 0.02,
        "rope_theta": config.rope_theta, "rope_scaling": _scaling(draw),
        "model_type": draw(["llama", "mistral"]),
    }  # fmt: skip
    (made / "config.json").write_text(json.dumps(hugging_config(config, tied=tied) | more))
    said = {
        "add_bos_token": draw([True, False]), "add_eos_token": True, "bos_token": "<s>",
        "chat_template": draw(
            [_TEMPLATE, [{"name": n, "template": _TEMPLATE + n} for n in ("default", "tool_use")]]
        ),
        "model_max_length": 99, "padding_side": "left",
    }  # fmt: skip
    (made / "generation_config.json").write_text(
        json.dumps({"temperature": 0.7, "bos_token_id": 1})
    )
    (made / "tokenizer_config.json").write_text(json.dumps(said))
    if bpe:
        (made / "tokenizer.json").write_text(json.dumps(_tokenizer_json()))
    else:
        (made / "tokenizer.model").write_bytes(_tokenizer_model())
    return made


def _scaling(draw: Draw) -> object:
    llama3 = {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }  # fmt: skip
    return draw([None, None, llama3, {"rope_type": "linear", "factor": 3.0}])


def _tokenizer_json() -> dict:
    texts, merges, kinds = bpe_pieces()
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    return {
        "added_tokens": [
            {"id": i, "content": texts[i], "special": kind == 3}
            for i, kind in enumerate(kinds) if kind != 1
        ],
        "pre_tokenizer": byte_level, "decoder": byte_level, "normalizer": None,
        "post_processor": byte_level,
        "model": {
            "type": "BPE", "merges": merges,
            "vocab": {text: i for i, text in enumerate(texts) if kinds[i] == 1},
        },
    }  # fmt: skip


def safetensors(folder: Path, rng, draw: Draw) -> Path:
    """The one file of such a folder."""
    return huggingface(folder, rng, draw) / "model.safetensors"


# --- the others ---------------------------------------------------------------------------------


def meta(folder: Path, rng, draw: Draw) -> Path:
    """Meta's folder, in one shard or two."""
    config = _config(draw, n_kv_heads=4, norm_eps=1e-6)
    (folder / "t.model").write_bytes(_tokenizer_model())
    more = draw([{}, {"rope_theta": 5e5}, {"use_scaled_rope": True}, {"comment": "mine"}])
    return write_meta_folder(
        folder / "meta", config, random_weights(config, rng), n_shards=draw([1, 2]),
        params={"rope_theta": config.rope_theta, **more}, tokenizer=folder / "t.model",
    )  # fmt: skip


def ggml_family(magic: bytes, version: int):
    """A source in one of the formats of 2023."""

    def source(folder: Path, rng, draw: Draw) -> Path:
        config = old_config(vocab_size=N_PIECES)
        (folder / "tokenizer.model").write_bytes(_tokenizer_model())
        pieces = sentencepiece_vocabulary(folder / "tokenizer.model")
        path = folder / "source.bin"
        more = {"magic": magic, "version": version, "dtype": draw(["f16", "f32"])}
        if magic == b"tjgg":
            path.write_bytes(ggml_file(config, random_weights(config, rng), pieces, **more))
            return path
        return write_ggml_shards(
            path, draw([1, 2]), config, random_weights(config, rng), pieces, **more
        )

    return source


def llama2c(folder: Path, rng, draw: Draw) -> Path:
    """A version 0 file; its tokenizer.bin lies beside it."""
    config = _config(draw, norm_eps=1e-5, rope_theta=10000.0, vocab_size=280)
    weights = random_weights(config, rng, tied=bool(draw([False, True])))
    (folder / "source.bin").write_bytes(llama2c_v0(config, weights))
    (folder / "tokenizer.bin").write_bytes(tokenizer_bin(small_vocabulary(280)))
    return folder / "source.bin"


def gguf_bpe(folder: Path, rng, draw: Draw) -> Path:
    """A GGUF file with a byte-level vocabulary."""
    return gguf(folder, rng, draw, bpe=True)


def huggingface_bpe(folder: Path, rng, draw: Draw) -> Path:
    """A Hugging Face folder with a tokenizer.json."""
    return huggingface(folder, rng, draw, bpe=True)


SOURCES = {
    "GGUF": gguf,
    "GGUF with bytes": gguf_bpe,
    "Hugging Face": huggingface,
    "Hugging Face with bytes": huggingface_bpe,
    "safetensors": safetensors,
    "Meta": meta,
    "ggml": ggml_family(b"lmgg", 0),
    "ggmf": ggml_family(b"fmgg", 1),
    "ggjt": ggml_family(b"tjgg", 1),
    "llama2.c": llama2c,
}
