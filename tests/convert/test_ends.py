"""Every end of a text survives a conversion, whichever file names it and however many there are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.huggingface_by_hand import hugging_config, to_huggingface
from helpers.small_models import random_weights, small_config
from helpers.trained import trained

from llama_edu.convert import convert
from llama_edu.loading import load

pytest.importorskip("safetensors")


def folder_that_says(folder, config=..., generation=...):
    """A folder whose files name these ends; `...` leaves the key out, or the file."""
    from safetensors.numpy import save_file

    folder.mkdir()
    n = trained(folder / "tokenizer.model", {}).vocab_size()
    sizes = small_config(vocab_size=n)
    weights = random_weights(sizes, np.random.default_rng(4))
    save_file(to_huggingface(sizes, weights), folder / "model.safetensors")
    values = hugging_config(sizes, bos_token_id=1)
    if config is not ...:
        values["eos_token_id"] = config
    (folder / "config.json").write_text(json.dumps(values))
    if generation is not ...:
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": generation}))
    return folder


def ends_of(path):
    with load(path) as llama:
        return llama.tokenizer.end_ids


@pytest.mark.parametrize(
    ("config", "generation", "expected"),
    [
        (..., ..., (2,)),
        (7, ..., (7,)),
        ([7, 2], ..., (2, 7)),  # the tokenizer's own end is EOS where it is among them
        ([7, 9], ..., (7, 9)),
        (5, [7, 9], (7, 9)),  # generation_config.json wins
        (5, 7, (7,)),
        ([7, 9, 11], None, (7, 9, 11)),  # and says nothing with null
        ([7, 9999, -1, True, "x"], ..., (7,)),
    ],
)
def test_a_folder_ends_where_its_files_say_before_and_after(tmp_path, config, generation, expected):
    folder = folder_that_says(tmp_path / "folder", config, generation)
    assert ends_of(folder) == expected
    losses = convert(folder, tmp_path / "m.gguf", to="gguf").losses
    assert not [loss for loss in losses if "end_ids" in loss or "eos_id" in loss]
    assert ends_of(tmp_path / "m.gguf") == expected
    convert(tmp_path / "m.gguf", tmp_path / "again", to="safetensors")
    assert ends_of(tmp_path / "again") == expected
    assert not (tmp_path / "again" / "generation_config.json").exists()


def test_more_ends_than_gguf_has_keys_for_are_named(tmp_path):
    folder = folder_that_says(tmp_path / "folder", [7, 9, 11, 13])
    losses = convert(folder, tmp_path / "m.gguf", to="gguf").losses
    (named,) = (loss for loss in losses if loss.startswith("vocabulary.end_ids"))
    assert "[7, 9, 11, 13] became [7, 9, 11] in gguf" in named
    assert ends_of(tmp_path / "m.gguf") == (7, 9, 11)


def test_an_end_is_dropped_with_its_key(tmp_path):
    convert(folder_that_says(tmp_path / "folder", [7, 9]), tmp_path / "m.gguf", to="gguf")
    turn = "tokenizer.ggml.eot_token_id"
    done = convert(tmp_path / "m.gguf", tmp_path / "n.gguf", to="gguf", drop_keys=[turn])
    assert ends_of(tmp_path / "n.gguf") == (7,) and not done.losses
    set_to = {turn: "12"}
    done = convert(tmp_path / "m.gguf", tmp_path / "o.gguf", to="gguf", set_keys=set_to)
    assert ends_of(tmp_path / "o.gguf") == (7, 12) and not done.losses


def test_a_generation_ends_at_every_end(tmp_path):
    folder = folder_that_says(tmp_path / "folder", [7, 9])
    with load(folder) as llama:
        for seed in range(3):
            generation = llama.generate_tokens("Snow", llama.config.max_seq_len, seed=seed)
            assert not {7, 9} & {token.id for token in generation}
