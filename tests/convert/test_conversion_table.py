"""The table in docs/conversion.md, cell by cell: kept, lost and named, or refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.every_source import SOURCES, bpe_pieces
from helpers.small_models import old_config, random_weights, small_vocabulary

from llama_edu.config import RopeScaling
from llama_edu.convert import convert
from llama_edu.errors import FormatError
from llama_edu.files.gguf.writer import write_gguf
from llama_edu.files.layout import PlannedTensor, TypedValue
from llama_edu.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Vocabulary

TEXT = Path(__file__).resolve().parents[2].joinpath("docs", "conversion.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TEXT.splitlines()
    if line.startswith("| ") and not line.startswith("| the source says")
]

#: The columns, as values of `to` and how the destination's name ends.
TARGETS = [("ggml", ""), ("ggjt-v3", ""), ("gguf", ""), ("safetensors", ""),
           ("safetensors", ".safetensors")]  # fmt: skip


def spm(**changes) -> Vocabulary:
    pieces = small_vocabulary(300)
    kinds = np.full(300, NORMAL, np.uint8)
    kinds[:3] = UNKNOWN, CONTROL, CONTROL
    kinds[3:259] = BYTE
    pieces = [(text or b" \xe2\x81\x87 ", score) for text, score in pieces[:1]] + pieces[1:]
    unique = [(text if i < 274 else b"x%d" % i, score) for i, (text, score) in enumerate(pieces)]
    unique += [(b"y%d" % i, -50.0) for i in range(300 - len(unique))]
    texts, scores = zip(*unique, strict=True)
    fields = {"pieces": texts, "scores": np.array(scores, np.float32), "kinds": kinds}
    return Vocabulary(**(fields | changes))


def bpe() -> Vocabulary:
    texts, merges, kinds = bpe_pieces()
    from llama_edu.files.vocabularies.byte_level import to_bytes

    pieces = [
        (to_bytes(text) if kind == 1 else text.encode()) or b""
        for text, kind in zip(texts, kinds, strict=True)
    ]
    return Vocabulary(
        pieces, np.zeros(300, np.float32), np.array(kinds, np.uint8), "bpe", -1, 270, 271,
        merges=merges, pre_tokenizer="llama-bpe", add_space_prefix=False,
    )  # fmt: skip


def gguf(folder: Path, *, keys=None, vocabulary=None, tied=False, divisors=None, **sizes) -> Path:
    config = old_config(**{"max_seq_len": 2048, **sizes})
    weights = random_weights(config, np.random.default_rng(7), tied=tied)
    planned = [PlannedTensor(name, "f32", array.shape) for name, array in weights.items()]
    with (folder / "source.gguf").open("wb") as file:
        write_gguf(
            file, config, vocabulary or spm(), planned, lambda t: weights[t.name], keys, divisors
        )
    return folder / "source.gguf"


def huggingface(folder: Path, changes: Callable[[Path], None] | None = None) -> Path:
    path = SOURCES["Hugging Face"](folder, np.random.default_rng(7), lambda options: options[0])
    for file in path.glob("*.json"):
        file.unlink() if file.name != "config.json" else None
    values = json.loads((path / "config.json").read_text())
    for key in ("use_cache", "initializer_range"):
        del values[key]
    (path / "config.json").write_text(json.dumps(values))
    if changes:
        changes(path)
    return path


def more_config(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"initializer_range": 0.5}))


def settings(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"temperature": 0.5}')
    (folder / "tokenizer_config.json").write_text('{"padding_side": "left"}')


def four_ends(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": [270, 271, 272, 2]}))


def llama_class(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')


def with_lm_head(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    stored = load_file(folder / "model.safetensors")
    stored["lm_head.weight"] = stored["model.embed_tokens.weight"] + 1
    save_file(stored, folder / "model.safetensors")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tie_word_embeddings": True}))


def user_defined() -> Vocabulary:
    kinds = spm().kinds.copy()
    kinds[270:272] = USER_DEFINED, CONTROL
    pieces = [*spm().pieces]
    pieces[271] = b""
    return spm(kinds=kinds, pieces=pieces, names={271: b"[ASK]"})


def unknown(folder: Path) -> Path:
    path = gguf(folder)
    key = b"tokenizer.ggml.model" + struct.pack("<IQ", 8, 5)
    path.write_bytes(path.read_bytes().replace(key + b"llama", key + b"plamo"))
    return path


ids = {
    f"tokenizer.ggml.{name}_token_id": TypedValue("u32", 270 + i)
    for i, name in enumerate(("padding", "eot"))
}

#: First cell -> a source that says it, and the names of the losses that tell of it.
SAYS: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "fewer key/value heads than heads": (lambda f: gguf(f, n_kv_heads=2), ("n_kv_heads",)),
    "a `rope_theta` that is not 10,000": (lambda f: gguf(f, rope_theta=5e5), ("rope_theta",)),
    "a `norm_eps` that is not 1e-6": (lambda f: gguf(f, norm_eps=1e-5), ("norm_eps",)),
    "an activation that is not SiLU": (lambda f: gguf(f, activation="relu"), ("activation",)),
    "RoPE scaled by a rule (linear, Llama 3.1)": (
        lambda f: gguf(f, rope_scaling=RopeScaling("linear", 4.0)), ("rope scaling",)),
    "RoPE divided by numbers that follow no rule": (
        lambda f: gguf(f, divisors=np.array([1, 2, 3, 5], np.float32)), ("rope scaling",)),
    "a context that is not 2,048": (lambda f: gguf(f, max_seq_len=99), ("max_seq_len",)),
    "the output is the embedding": (lambda f: gguf(f, tied=True), ("tied output",)),
    "texts of the pieces": (gguf, ("vocabulary.pieces", "vocabulary")),
    "scores of the pieces": (gguf, ("vocabulary.scores", "vocabulary")),
    "kinds and names of special pieces": (
        lambda f: gguf(f, vocabulary=user_defined()),
        ("vocabulary.kinds", "vocabulary.names of special pieces", "vocabulary")),
    "ids of BOS and EOS that are not 1 and 2": (
        lambda f: gguf(f, vocabulary=spm(bos_id=2, eos_id=1)),
        ("vocabulary.bos_id", "vocabulary.eos_id", "vocabulary")),
    "up to three ids that end a text": (
        lambda f: gguf(f, vocabulary=spm(other_end_ids=(270, 271))),
        ("vocabulary.end_ids", "vocabulary")),
    "more of them": (
        lambda f: huggingface(f, four_ends), ("vocabulary.end_ids", "vocabulary")),
    "no BOS, or no space, before a text": (
        lambda f: gguf(f, vocabulary=spm(add_bos=False, add_space_prefix=False)),
        ("vocabulary.add_bos", "vocabulary.add_space_prefix", "vocabulary")),
    "EOS after a text": (
        lambda f: gguf(f, vocabulary=spm(add_eos=True)), ("vocabulary.add_eos", "vocabulary")),
    "no second space before a text that begins with one": (
        lambda f: huggingface(f, llama_class), ("vocabulary.doubles_space", "vocabulary")),
    "byte-level pieces with merges": (
        lambda f: gguf(f, vocabulary=bpe()), ("vocabulary.pieces", "vocabulary")),
    "a vocabulary of a kind that is not known": (unknown, ("tokenizer.ggml.tokens",)),
    "a chat template": (
        lambda f: gguf(f, keys={"tokenizer.chat_template": "{{ m }}"}),
        ("tokenizer.chat_template",)),
    "ids of padding and end of turn": (lambda f: gguf(f, keys=ids), tuple(ids)),
    "author, license, any other key of GGUF": (
        lambda f: gguf(f, keys={"general.author": "Ann", "mine.numbers": 3}),
        ("general.author", "mine.numbers")),
    "further keys of config.json": (
        lambda f: huggingface(f, more_config), ("config.json:initializer_range",)),
    "generation_config.json, tokenizer_config.json": (
        lambda f: huggingface(f, settings),
        ("generation_config.json:temperature", "tokenizer_config.json:padding_side")),
    "texts in the table of a safetensors file": (huggingface, ("__metadata__:author",)),
    "tensors that no LLaMA computes with": (
        lambda f: huggingface(f, with_lm_head), ("tensor lm_head.weight",)),
}  # fmt: skip


def test_every_row_of_the_table_is_tried():
    assert [row[0] for row in ROWS] == list(SAYS)
    assert {cell for row in ROWS for cell in row[1:]} == {"kept", "lost", "named", "refused"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_target_keeps_names_or_refuses_as_the_table_says(tmp_path, row):
    make, names = SAYS[row[0]]
    source = make(tmp_path)
    for cell, (to, ending) in zip(row[1:], TARGETS, strict=True):
        (tmp_path / f"{to}{ending}").mkdir()
        target = tmp_path / f"{to}{ending}" / f"made{ending}"
        if cell == "refused":
            with pytest.raises(FormatError, match="convert to gguf"):
                convert(source, target, to=to)
            continue
        found = {sentence.rpartition(": ")[0] for sentence in convert(source, target, to=to).losses}
        if cell == "kept":
            assert not found & set(names), (to, ending)
        elif cell == "lost":
            assert found & set(names), (to, ending, found)
