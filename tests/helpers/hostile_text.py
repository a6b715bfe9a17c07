"""Models in which a stranger chose one text: what a terminal would obey, and markup.

SOURCES: where that text stands -> a function that writes the model into a folder and returns the
command-line arguments that name it, and the options that belong to them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from helpers.gguf_by_hand import Gguf, gguf_bytes, gguf_keys, gguf_shapes
from helpers.hostile_safetensors import safetensors_bytes
from helpers.huggingface_by_hand import hugging_config, to_huggingface
from helpers.small_models import (
    legacy_pth_file,
    llama2c_v0,
    meta_name,
    old_config,
    pth_file,
    random_weights,
    small_config,
    small_vocabulary,
    tokenizer_bin,
    torch_zip,
    write_ggml_shards,
    write_meta_folder,
)

#: Clears the screen, turns the direction of writing, ends a line, is an image. It has no "/", which
#: no file name holds.
EVIL = "q\x1b[2J\u202e\x9b7\r\x07<img src=x onerror='stolen()'>"

#: What a model was given that its source does not spoil.
PROMPT, TOKENS = "b", "1,4"


@dataclass(frozen=True)
class Model:
    """The file or folder, and what every command on it needs."""

    path: Path
    tokenizer: Path | None = None
    prompt: str = PROMPT
    story: str = PROMPT * 4
    name: str = "out"
    options: list[str] = field(default_factory=list)


def _gguf(folder: Path, name: str = "m.gguf", extra=(), extra_infos=(), **changes) -> Model:
    """A model that would rather write its pieces than end; seven pieces, every size different."""
    g, rng = Gguf(), np.random.default_rng(3)
    infos, data = [], b""
    for tensor, shape in gguf_shapes().items():
        infos.append(g.info(tensor, shape[::-1], 0, len(data)))
        numbers = (0.4 * rng.standard_normal(shape)).astype("<f4")
        if tensor == "output.weight":
            numbers[:4] = 0  # neither an end nor a line break is likelier than the pieces
        data += numbers.tobytes()
        data += bytes(-len(data) % 32)
    context = g.kv("llama.context_length", "u32", 200)
    changes = {"llama__context_length": lambda g: context} | changes
    keys = [*gguf_keys(g, **{key: make(g) for key, make in changes.items()}), *extra]
    (folder / name).write_bytes(g.file(keys, [*infos, *extra_infos], data))
    return Model(folder / name)


def file_name(folder: Path) -> Model:
    return _gguf(folder, f"{EVIL}.gguf")


def folder_name(folder: Path) -> Model:
    (folder / EVIL).mkdir()
    return _huggingface(folder / EVIL)


def _weights(dtype="<f2"):
    config = small_config(vocab_size=271, max_seq_len=200)
    return config, random_weights(config, np.random.default_rng(3))


def _safetensors(arrays, extra=None) -> bytes:
    table, data = dict(extra or {}), b""
    for name, array in arrays.items():
        raw = array.astype("<f4").tobytes()
        table[name] = {
            "dtype": "F32", "shape": list(array.shape), "data_offsets": [len(data), len(data + raw)]
        }  # fmt: skip
        data += raw
    return safetensors_bytes(table, data)


def _huggingface(folder: Path, *, config=None, extra=None, weights=None, **files: object) -> Model:
    sizes, made = _weights()
    arrays = to_huggingface(sizes, made) | (weights or {})
    (folder / "config.json").write_text(json.dumps(hugging_config(sizes) | (config or {})))
    (folder / "model.safetensors").write_bytes(_safetensors(arrays, extra))
    (folder / "tokenizer.bin").write_bytes(tokenizer_bin(small_vocabulary()))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return Model(folder, folder / "tokenizer.bin")


def shard_name(folder: Path) -> Model:
    """The index of a folder chooses the names of its files."""
    model = _huggingface(folder)
    arrays = to_huggingface(*_weights())
    (folder / "model.safetensors").unlink()
    names = [f"{EVIL}{i}.safetensors" for i in range(2)]
    placed = {}
    for i, name in enumerate(names):
        half = dict(list(arrays.items())[i::2])
        (folder / name).write_bytes(_safetensors(half))
        placed |= dict.fromkeys(half, name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": placed}))
    return model


def missing_shard_name(folder: Path) -> Model:
    model = shard_name(folder)
    (folder / f"{EVIL}1.safetensors").unlink()
    return model


def ggml_shard_name(folder: Path) -> Model:
    config = old_config()
    made = (config, random_weights(config, np.random.default_rng(3)), small_vocabulary(300))
    write_ggml_shards(folder / EVIL, 2, *made, magic=b"fmgg")
    return Model(folder / EVIL)


def tensor_name_of_gguf(folder: Path) -> Model:
    return _gguf(folder, extra_infos=[Gguf().info(f"{EVIL}.weight", [4], 0, 0)])


def tensor_name_of_safetensors(folder: Path) -> Model:
    return _huggingface(folder, weights={f"{EVIL}.weight": np.zeros(3)})


def tensor_that_is_ignored(folder: Path) -> Model:
    return _huggingface(folder, weights={f"model.layers.0.{EVIL}.rotary_emb.inv_freq": np.zeros(2)})


def tensor_name_of_pth(folder: Path) -> Model:
    config, made = _weights()
    arrays = {meta_name(name): array.astype("<f2") for name, array in made.items()}
    path = write_meta_folder(folder / "meta", config, made)
    (path / "consolidated.00.pth").write_bytes(pth_file(arrays | {EVIL: np.zeros(2, "<f2")}))
    return Model(path)


def storage_name_of_legacy_pth(folder: Path) -> Model:
    raw = legacy_pth_file({EVIL: np.zeros(2, "<f2")})
    (folder / "m.pth").write_bytes(raw)
    return Model(folder / "m.pth")


def global_of_pickle(folder: Path) -> Model:
    path = write_meta_folder(folder / "meta", *_weights())
    program = b"\x80\x02c" + EVIL.replace("\r", "").encode() + b"\nsystem\n."
    (path / "consolidated.00.pth").write_bytes(torch_zip({"data.pkl": program}))
    return Model(path)


def metadata_value(folder: Path) -> Model:
    return _gguf(folder, general__name=lambda g: g.kv("general.name", "string", EVIL))


def metadata_key(folder: Path) -> Model:
    return _gguf(folder, evil=lambda g: g.kv(f"general.{EVIL}", "string", "x"))


def metadata_list(folder: Path) -> Model:
    return _gguf(folder, tags=lambda g: g.array("general.tags", "string", [EVIL, EVIL]))


def metadata_that_is_no_utf8(folder: Path) -> Model:
    raw = EVIL.encode("latin-1", "ignore") + b"\xff"
    return _gguf(folder, general__name=lambda g: g.kv("general.name", "string", raw))


def architecture(folder: Path) -> Model:
    changed = Gguf().kv("general.architecture", "string", EVIL)
    (folder / "m.gguf").write_bytes(gguf_bytes(general__architecture=changed))
    return Model(folder / "m.gguf")


def vocabulary_model(folder: Path) -> Model:
    return _gguf(
        folder, tokenizer__ggml__model=lambda g: g.kv("tokenizer.ggml.model", "string", EVIL)
    )


def chat_template(folder: Path) -> Model:
    key = "tokenizer.chat_template"
    return _gguf(folder, tokenizer__chat_template=lambda g: g.kv(key, "string", EVIL))


def author(folder: Path) -> Model:
    return _gguf(folder, general__author=lambda g: g.kv("general.author", "string", EVIL))


def vocabulary_piece(folder: Path) -> Model:
    pieces = ["<unk>", "<s>", "</s>", "<0x0A>", f"\u2581{EVIL}", "b", EVIL]
    key = "tokenizer.ggml.tokens"
    return _gguf(folder, tokenizer__ggml__tokens=lambda g: g.array(key, "string", pieces))


def piece_of_a_tokenizer_file(folder: Path) -> Model:
    pieces = small_vocabulary()
    pieces[259:] = [(f"{EVIL}{i}".encode(), -float(i)) for i in range(len(pieces) - 259)]
    config, made = _weights()
    made["output"][:259] = 0
    (folder / "m.bin").write_bytes(llama2c_v0(config, made))
    (folder / "t.bin").write_bytes(tokenizer_bin(pieces))
    return Model(folder / "m.bin", folder / "t.bin", prompt=f"{EVIL}1")


def _entry(folder: Path, **changes: object) -> Model:
    model = _huggingface(folder)
    arrays = to_huggingface(*_weights())
    row = {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]} | changes
    text = _safetensors(arrays, {"model.embed_tokens.weight": row, "x": row})
    (folder / "model.safetensors").write_bytes(text)
    return model


def shape_of_safetensors(folder: Path) -> Model:
    return _entry(folder, shape=[EVIL])


def offsets_of_safetensors(folder: Path) -> Model:
    return _entry(folder, data_offsets=[EVIL, EVIL])


def dtype_of_safetensors(folder: Path) -> Model:
    return _entry(folder, dtype=EVIL)


def metadata_of_safetensors(folder: Path) -> Model:
    return _huggingface(folder, extra={"__metadata__": {EVIL: EVIL}})


def value_of_config_json(folder: Path) -> Model:
    return _huggingface(folder, config={"hidden_act": EVIL, EVIL: EVIL})


def wrong_value_of_config_json(folder: Path) -> Model:
    return _huggingface(folder, config={"hidden_size": EVIL})


def model_type_of_config_json(folder: Path) -> Model:
    return _huggingface(folder, config={"model_type": EVIL})


def tokenizer_config_json(folder: Path) -> Model:
    return _huggingface(folder, tokenizer_config={"chat_template": EVIL, "bos_token": EVIL})


def added_tokens_json(folder: Path) -> Model:
    return _huggingface(folder, added_tokens={EVIL: 270})


def _meta(folder: Path, **params: object) -> Model:
    config = old_config()
    made = random_weights(config, np.random.default_rng(3))
    return Model(write_meta_folder(folder / "meta", config, made, params=params))


def value_of_params_json(folder: Path) -> Model:
    return _meta(folder, **{EVIL: EVIL})


def wrong_value_of_params_json(folder: Path) -> Model:
    return _meta(folder, dim=EVIL)


def prompt(folder: Path) -> Model:
    plain = _gguf(folder)
    return Model(plain.path, prompt=EVIL, story=EVIL * 2)


def name_of_the_tokenizer_file(folder: Path) -> Model:
    """It belongs to another model, which is said."""
    plain = piece_of_a_tokenizer_file(folder)
    (folder / EVIL).write_bytes(tokenizer_bin(small_vocabulary(999) * 2))
    return Model(plain.path, folder / EVIL)


def content_of_the_tokenizer_file(folder: Path) -> Model:
    plain = piece_of_a_tokenizer_file(folder)
    (folder / "t.bin").write_bytes(EVIL.encode())
    return Model(plain.path, plain.tokenizer)


def name_that_is_not_there(folder: Path) -> Model:
    return Model(folder / EVIL)


def content_of_no_known_format(folder: Path) -> Model:
    (folder / "m.bin").write_bytes(EVIL.encode() * 3)
    return Model(folder / "m.bin")


def destination(folder: Path) -> Model:
    plain = _gguf(folder)
    return Model(plain.path, name=EVIL)


def key_of_an_option(folder: Path) -> Model:
    plain = _gguf(folder)
    return Model(plain.path, options=["--set", f"{EVIL}={EVIL}", "--drop", EVIL])


def length_of_ggml_name(folder: Path) -> Model:
    """A ggml file may call a tensor anything."""
    ggml_shard_name(folder)
    raw = (folder / EVIL).read_bytes()
    evil = EVIL.encode()[: len("tok_embeddings.weight")]
    raw = raw.replace(b"tok_embeddings.weight", evil.ljust(len("tok_embeddings.weight"), b"x"))
    (folder / "m.bin").write_bytes(raw)
    return Model(folder / "m.bin")


def magic_of_ggml(folder: Path) -> Model:
    (folder / "m.bin").write_bytes(b"tjgg" + struct.pack("<I", 1) + EVIL.encode() * 4)
    return Model(folder / "m.bin")


SOURCES: dict[str, Callable[[Path], Model]] = {
    make.__name__.replace("_", " "): make
    for make in (
        file_name, folder_name, shard_name, missing_shard_name, ggml_shard_name,
        tensor_name_of_gguf, tensor_name_of_safetensors, tensor_that_is_ignored,
        tensor_name_of_pth, storage_name_of_legacy_pth, global_of_pickle, length_of_ggml_name,
        magic_of_ggml, metadata_value, metadata_key, metadata_list, metadata_that_is_no_utf8,
        architecture, vocabulary_model, chat_template, author, vocabulary_piece,
        piece_of_a_tokenizer_file, shape_of_safetensors, offsets_of_safetensors,
        dtype_of_safetensors, metadata_of_safetensors, value_of_config_json,
        wrong_value_of_config_json, model_type_of_config_json, tokenizer_config_json,
        added_tokens_json, value_of_params_json, wrong_value_of_params_json, prompt,
        name_of_the_tokenizer_file, content_of_the_tokenizer_file, name_that_is_not_there,
        content_of_no_known_format, destination, key_of_an_option,
    )
}  # fmt: skip
