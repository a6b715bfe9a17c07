"""For every source and every target: what is read afterwards differs by exactly what was said."""

from __future__ import annotations

import random

import numpy as np
import pytest
from helpers.every_source import SOURCES
from helpers.said import SAID_TWICE, gguf_keys, json_keys, logits_of, sizes_and_pieces

from llama_edu.convert import convert
from llama_edu.convert.output_formats import OUTPUT_FORMATS
from llama_edu.errors import FormatError
from llama_edu.files.detect import read_checkpoint

pytest.importorskip("gguf")
pytest.importorskip("safetensors")

#: The only sentences with which a target refuses one of these sources.
REFUSALS = (
    "the ggml family of 2023 has no field for",
    "rope_freqs.weight follows no rule",
    "holds sentencepiece vocabularies only",
)

N_VARIANTS = 4


def names_of(losses) -> set[str]:
    return {sentence.rpartition(": ")[0] for sentence in losses}


@pytest.mark.parametrize("to", [*OUTPUT_FORMATS, "file"])
@pytest.mark.parametrize("source", SOURCES)
def test_what_is_read_afterwards_differs_by_exactly_what_was_said(tmp_path, source, to):
    n_written = 0
    for seed in range(N_VARIANTS):
        folder = tmp_path / str(seed)
        (folder / "made").mkdir(parents=True)
        draw = random.Random(f"{source} {seed}").choice
        path = SOURCES[source](folder, np.random.default_rng(seed), draw)
        given = folder / "tokenizer.bin"
        tokenizer = given if given.exists() else None
        target = folder / "made" / ("model.safetensors" if to == "file" else "model")
        try:
            done = convert(
                path, target, to="safetensors" if to == "file" else to, tokenizer=tokenizer
            )
        except FormatError as error:
            assert any(reason in str(error) for reason in REFUSALS), error
            assert not target.exists()
            continue
        n_written += 1
        lost = names_of(done.losses)
        check_sizes_and_pieces(
            path, target, tokenizer or read_checkpoint(path).tokenizer_path, lost
        )
        check_keys(path, target, lost)
        np.testing.assert_allclose(logits_of(target), logits_of(path), rtol=1e-3, atol=2e-4)
    assert n_written or to.startswith("gg")


def check_sizes_and_pieces(path, target, tokenizer, lost):
    before = sizes_and_pieces(path, tokenizer)
    after = sizes_and_pieces(
        target, read_checkpoint(target).tokenizer_path if target.is_dir() else None
    )
    if "vocabulary" in lost:
        before = {name: value for name, value in before.items() if "vocabulary" not in name}
    differing = {name for name, value in before.items() if after.get(name) != value}
    said = {name for name in lost if name in before}
    assert differing == said, f"differs: {differing - said}, said without cause: {said - differing}"


def check_keys(path, target, lost):
    """Every key of a GGUF file and of a folder's JSON files is there again, or was named."""
    if target.is_file() and target.read_bytes()[:4] == b"GGUF" and path.suffix == ".gguf":
        before, after = gguf_keys(path), gguf_keys(target)
        changed = {key for key, value in before.items() if after.get(key) != value}
        owned = {"general.file_type", "general.alignment"}
        assert {
            key for key in changed - owned if not is_no_id(before[key], after.get(key))
        } == set()
        assert not lost
    elif path.suffix == ".gguf":
        for key in gguf_keys(path):
            assert is_carried(key, target) or key in lost, key
    folder = path if path.is_dir() else path.parent
    if (folder / "config.json").is_file():
        is_json = target.is_dir() or target.suffix == ".safetensors"
        after = json_keys(target) if is_json else {}
        for key, value in json_keys(folder).items():
            if after.get(key) != value:
                assert key in lost or is_a_size(key) or key.endswith(SAID_TWICE), key
            else:
                assert key not in lost, f"{key} was said without cause"


def is_no_id(before, after) -> bool:
    """Whether both name no piece: 300 has none."""
    return before[1] in (300, 2**32 - 1) and after is not None and after[1] == 2**32 - 1


def is_carried(key: str, target) -> bool:
    """Whether a key of GGUF is a size or a piece, which are compared elsewhere, or in a folder."""
    if key.startswith(("llama.", "general.architecture", "general.file_type")):
        return True
    pieces = ("model", "pre", "tokens", "scores", "token_type", "merges", "bos_token_id",
              "eos_token_id", "unknown_token_id", "add_bos_token", "add_space_prefix",
              "add_eos_token")  # fmt: skip
    if key in {f"tokenizer.ggml.{name}" for name in pieces}:
        return True
    found = json_keys(target) if target.is_dir() or target.suffix == ".safetensors" else {}
    return {
        "tokenizer.chat_template": "tokenizer_config.json:chat_template" in found,
        "tokenizer.ggml.add_eos_token": "tokenizer_config.json:add_eos_token" in found,
        "tokenizer.ggml.padding_token_id": "config.json:pad_token_id" in found,
        "tokenizer.ggml.eot_token_id": isinstance(found.get("config.json:eos_token_id"), list),
    }.get(key, False)


def is_a_size(key: str) -> bool:
    file, _, name = key.partition(":")
    return (file == "config.json" and name in (
        "model_type", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "vocab_size", "max_position_embeddings",
        "rms_norm_eps", "rope_theta", "rope_scaling", "tie_word_embeddings",
    )) or name in ("bos_token", "chat_template", "add_eos_token")  # fmt: skip
