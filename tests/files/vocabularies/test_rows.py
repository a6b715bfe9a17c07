"""Rows of an embedding beyond the pieces: named by JSON files, or without a text."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.huggingface_by_hand import hugging_config, to_huggingface
from helpers.small_models import random_weights, small_config, write_meta_folder

from llama_edu.compare import compare
from llama_edu.errors import FormatError, RequestError
from llama_edu.files.vocabularies.detect import read_vocabulary
from llama_edu.files.vocabularies.rows import AddedPiece, added_pieces, with_rows
from llama_edu.loading import load
from llama_edu.tokenizer.streaming import decode
from llama_edu.vocabulary import CONTROL, UNUSED, USER_DEFINED


@pytest.fixture
def folder(tmp_path, rng, sentencepiece_model):
    """300 pieces, 310 rows."""
    config = small_config(vocab_size=310, hidden_dim=72)
    return write_meta_folder(
        tmp_path / "model", config, random_weights(config, rng), params={"n_kv_heads": 2},
        tokenizer=sentencepiece_model,
    )  # fmt: skip


def name_rows(folder):
    """added_tokens.json with a control token and two others, as older Hugging Face folders have."""
    added = {"<|im_start|>": 300, "[ASK]": 301, "[ASK] more": 302, "beyond": 999}
    (folder / "added_tokens.json").write_text(json.dumps(added))
    special = {"additional_special_tokens": ["<|im_start|>"], "pad_token": {"content": "<pad>"}}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))


def test_rows_without_a_piece_decode_to_nothing(folder):
    with load(folder) as llama:
        ids = llama.tokenizer.encode("the fox")
        assert llama.tokenizer.vocab_size == 310
        assert decode(llama.tokenizer, [*ids, 305, 309]) == "the fox"
        with pytest.raises(RequestError, match="id 310, expected 0 to 309"):
            llama.tokenizer.piece(310)
        "".join(llama.generate("the", 8, seed=1))


def test_rows_are_called_as_the_json_files_beside_them_say(folder):
    name_rows(folder)
    with load(folder) as llama:
        tokenizer = llama.tokenizer
        assert [tokenizer.piece(t) for t in (300, 301, 302, 303)] == [
            b"", b"[ASK]", b"[ASK] more", b"",
        ]  # fmt: skip
        plain = tokenizer.encode("the fox", bos=False)
        ids = tokenizer.encode("the fox[ASK] more", bos=False)
        assert ids == [*plain, 302]
        assert 300 not in tokenizer.encode("<|im_start|>")  # a control token in a text is text


def test_names_go_into_the_vocabulary_of_a_conversion(folder, tmp_path, run_cli):
    name_rows(folder)
    vocabulary = read_vocabulary(folder / "tokenizer.model", 310)
    assert vocabulary.kinds[300:304].tolist() == [CONTROL, USER_DEFINED, USER_DEFINED, UNUSED]
    code, _, error = run_cli("convert", folder, tmp_path / "m.gguf", "--to", "gguf")
    assert code == 0, error
    with load(folder) as before, load(tmp_path / "m.gguf") as after:
        for text in ("the fox", "the fox[ASK] more", "a[ASK]"):
            assert after.tokenizer.encode(text)[-1] == before.tokenizer.encode(text)[-1]
        assert [after.tokenizer.piece(t) for t in (301, 305)] == [b"[ASK]", b""]
        assert 302 in after.tokenizer.encode("the fox[ASK] more")
    code, _, error = run_cli("convert", tmp_path / "m.gguf", tmp_path / "f", "--to", "safetensors")
    assert code == 0, error
    with load(tmp_path / "f") as again:  # sentencepiece spells the space in it as U+2581
        assert 302 in again.tokenizer.encode("the fox[ASK] more")
        assert again.tokenizer.name(302) == "[ASK]\u2581more"


def test_tokenizer_config_says_which_added_tokens_are_control_tokens(tmp_path):
    listed = {"32000": {"content": "<x>", "special": True}, "32001": {"content": "y"}, "z": 5}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": listed}))
    assert added_pieces(tmp_path) == {
        32000: AddedPiece("<x>", True), 32001: AddedPiece("y", False),
    }  # fmt: skip
    (tmp_path / "added_tokens.json").write_text("[1]")
    with pytest.raises(FormatError, match=r"added_tokens.json: holds a JSON list"):
        added_pieces(tmp_path)


def test_more_pieces_than_rows_is_another_models_tokenizer(sentencepiece_model):
    vocabulary = read_vocabulary(sentencepiece_model)
    with pytest.raises(RequestError, match=r"m\.bin: has 300 pieces, the model has 299; this is"):
        with_rows(vocabulary, 299, "m.bin")
    assert with_rows(vocabulary, 300, "m.bin") is vocabulary


# --- the model works without its tokenizer ------------------------------------------------------


@pytest.fixture(params=["more pieces than rows", "unigram of nowhere", "no JSON", "no vocabulary"])
def unreadable(request, tmp_path, rng, sentencepiece_model):
    """A Hugging Face folder whose tokenizer cannot be used."""
    from safetensors.numpy import save_file

    config = small_config(vocab_size=280)
    folder = tmp_path / "hf"
    folder.mkdir()
    weights = to_huggingface(config, random_weights(config, rng))
    save_file(
        {n: np.ascontiguousarray(w) for n, w in weights.items()}, folder / "model.safetensors"
    )
    (folder / "config.json").write_text(json.dumps(hugging_config(config)))
    if request.param == "more pieces than rows":
        (folder / "tokenizer.model").write_bytes(sentencepiece_model.read_bytes())
    elif request.param == "unigram of nowhere":
        (folder / "tokenizer.json").write_text('{"model": {"type": "Unigram", "vocab": []}}')
    elif request.param == "no JSON":
        (folder / "tokenizer.json").write_text("{")
    return folder


def test_a_model_computes_though_its_vocabulary_is_not_understood(unreadable, run_cli, tmp_path):
    with load(unreadable) as llama:
        assert llama.logits([1, 2]).shape == (2, 280)
        with pytest.raises((FormatError, RequestError)):
            llama.generate("a")
    assert compare(unreadable, unreadable).same
    out = tmp_path / "l.npy"
    assert run_cli("logits", unreadable, "--tokens", "1,2", "--out", out)[0] == 0
    code, _, error = run_cli("tokenize", unreadable, "a")
    assert code == 2 and error.startswith("llama-edu: ")
    assert run_cli("convert", unreadable, tmp_path / "copy", "--to", "safetensors")[0] == 0
