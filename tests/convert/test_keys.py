"""Keys that are carried, set and dropped, and what goes into a folder and back."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.every_source import N_PIECES, SOURCES, spm_pieces
from helpers.said import gguf_keys, json_keys, logits_of

from llama_edu.convert import convert
from llama_edu.errors import RequestError
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.vocabularies.detect import read_vocabulary

gguf = pytest.importorskip("gguf")


def first(options):
    return options[0]


@pytest.fixture
def source(tmp_path):
    """A GGUF file with all keys, the first choice of everything."""
    (tmp_path / "source").mkdir()
    return SOURCES["GGUF"](tmp_path / "source", np.random.default_rng(3), first)


def test_every_key_of_a_gguf_file_keeps_its_type_and_value(tmp_path, source):
    """Requantized, as people convert most; what describes the file may change."""
    done = convert(source, tmp_path / "made.gguf", to="gguf", type="q8_0")
    before, after = gguf_keys(source), gguf_keys(tmp_path / "made.gguf")
    assert {key for key in before if after.get(key) != before[key]} == set()
    assert not done.losses
    assert {key.name for key in gguf.GGUFValueType} >= {
        t for types, _ in before.values() for t in types
    }


@pytest.mark.parametrize("follows_a_rule", [True, False])
def test_the_divisors_of_rope_go_to_gguf_and_the_logits_stay(tmp_path, rng, follows_a_rule):
    """Llama 3.1 and later say only there how far they stretch; without them logits were off."""

    def draw(options):
        return True if options == [False, True] else options[0 if follows_a_rule else -1]

    path = SOURCES["GGUF"](tmp_path, rng, draw)
    convert(path, tmp_path / "made.gguf", to="gguf")
    assert "rope_freqs" in read_checkpoint(tmp_path / "made.gguf").metadata
    np.testing.assert_array_equal(logits_of(tmp_path / "made.gguf"), logits_of(path))


def test_keys_are_set_with_the_type_that_they_have(run_cli, tmp_path, source):
    made = tmp_path / "made.gguf"
    code, out, err = run_cli(
        "convert", source, made, "--to", "gguf", "--set", "test.u8=7", "--set", "test.f64=0.25",
        "--set", "general.name=A = b", "--set", "test.flag=false", "--set", "mine.count=-5",
        "--set", "mine.text=five", "--set", "llama.context_length=77", "--set", "mine.ratio=0.5",
        "--set", "tokenizer.ggml.eos_token_id=9", "--drop", "tokenizer.chat_template",
    )  # fmt: skip
    assert code == 0, err
    assert len(out.splitlines()) == 1  # what was meant is no loss
    keys = gguf_keys(made)
    assert keys["test.u8"] == ([gguf.GGUFValueType.UINT8.name], 7)
    assert keys["test.f64"] == ([gguf.GGUFValueType.FLOAT64.name], 0.25)
    assert keys["test.flag"][1] is False or keys["test.flag"][1] == 0
    assert keys["general.name"][1] == "A = b"
    assert keys["mine.count"] == ([gguf.GGUFValueType.INT32.name], -5)
    assert keys["mine.text"][1] == "five" and keys["mine.ratio"][1] == 0.5
    assert "tokenizer.chat_template" not in keys
    checkpoint = read_checkpoint(made)
    assert (checkpoint.config.max_seq_len, checkpoint.vocabulary.eos_id) == (77, 9)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"set_keys": {"test.u8": "300"}}, "metadata test.u8: 300 does not fit u8"),
        ({"set_keys": {"test.u8": "x"}}, "--set test.u8: 'x' is no u8"),
        ({"set_keys": {"test.flag": "7"}}, "--set test.flag: '7' is no bool"),
        ({"set_keys": {"test.numbers": "7"}}, "is array of f32 in the source, which cannot be set"),
        ({"set_keys": {"llama.block_count": "7"}}, "follows from the tensors, the pieces or the"),
        ({"set_keys": {"split.count": "7"}}, "follows from the tensors, the pieces or the file"),
        ({"drop_keys": ["tokenizer.ggml.tokens"]}, "it cannot be set or dropped"),
        ({"drop_keys": ["llama.context_length"]}, "is always written; set it to another value"),
        ({"drop_keys": ["no.such"]}, "--drop 'no.such': the source has no such key"),
    ],
)
def test_keys_that_cannot_be_set_or_dropped_are_named(tmp_path, source, options, says):
    with pytest.raises(RequestError, match=says.replace("'", ".")):
        convert(source, tmp_path / "made.gguf", to="gguf", **options)
    assert not (tmp_path / "made.gguf").exists()


def test_keys_are_set_in_gguf_only_and_with_an_equals_sign(run_cli, tmp_path, source):
    code, _, err = run_cli("convert", source, tmp_path / "made", "--set", "a.b=1")
    assert code == 2 and "ggjt-v1 has no keys; convert to gguf" in err
    code, _, err = run_cli("convert", source, tmp_path / "made", "--to", "gguf", "--set", "a.b")
    assert code == 2 and "expected KEY=VALUE" in err


def test_the_vocabulary_of_a_gguf_file_goes_to_a_folder_and_back(tmp_path, source):
    """Kinds, names, scores and ids as they were, and as the sentencepiece library reads them."""
    convert(source, tmp_path / "folder", to="safetensors")
    before = read_checkpoint(source).vocabulary
    after = read_vocabulary(tmp_path / "folder" / "tokenizer.model")
    assert list(after.pieces) == list(before.pieces)
    np.testing.assert_array_equal(after.scores, before.scores)
    np.testing.assert_array_equal(after.kinds, before.kinds)
    said = json_keys(tmp_path / "folder")
    assert said["config.json:bos_token_id"] == 1
    assert said["config.json:eos_token_id"] == [2, N_PIECES - 2]
    assert said["config.json:pad_token_id"] == N_PIECES - 1
    assert said["tokenizer_config.json:chat_template"].endswith("{% endfor %}")
    convert(tmp_path / "folder", tmp_path / "back.gguf", to="gguf")
    original, back = gguf_keys(source), gguf_keys(tmp_path / "back.gguf")
    for key in original:
        if key.startswith("tokenizer.") and not key.endswith(("add_bos_token", "add_space_prefix")):
            assert back[key] == original[key], key
    texts, _, kinds = spm_pieces(first)
    ask = texts.index("[ASK]")
    assert back["tokenizer.ggml.tokens"][1][ask] == "[ASK]" and kinds[ask] == 3


def test_a_byte_level_vocabulary_goes_to_a_folder_that_the_library_opens(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    path = SOURCES["GGUF with bytes"](tmp_path, np.random.default_rng(3), first)
    done = convert(path, tmp_path / "folder", to="safetensors")
    assert not [loss for loss in done.losses if loss.startswith("vocabulary")]
    from llama_edu.tokenizer.choice import tokenizer_for

    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "folder" / "tokenizer.json"))
    ours = tokenizer_for(read_checkpoint(path))
    for text in ("the her in", " the  then", "inner\n\n"):
        assert theirs.encode(text, add_special_tokens=False).ids == ours.encode(text, bos=False)


def test_a_folder_written_with_another_type_keeps_its_files_and_ids(tmp_path):
    path = SOURCES["Hugging Face with bytes"](tmp_path, np.random.default_rng(3), first)
    convert(path, tmp_path / "made", to="safetensors", type="f16")
    for file in path.glob("*.json"):
        if file.name != "config.json":
            assert (tmp_path / "made" / file.name).read_bytes() == file.read_bytes()
    before, after = json.loads((path / "config.json").read_text()), json_keys(tmp_path / "made")
    assert all(after[f"config.json:{key}"] == value for key, value in before.items())


def test_a_folder_without_ids_says_null_so_that_no_default_takes_their_place(tmp_path, source):
    without = {"tokenizer.ggml.eos_token_id": "999"}
    turn = ["tokenizer.ggml.eot_token_id"]
    convert(source, tmp_path / "a.gguf", to="gguf", set_keys=without, drop_keys=turn)
    convert(tmp_path / "a.gguf", tmp_path / "folder", to="safetensors")
    assert json_keys(tmp_path / "folder")["config.json:eos_token_id"] is None


def test_what_lies_in_the_folder_already_is_not_taken_for_what_was_written(tmp_path, source):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "consolidated.00.pth").write_bytes(b"another model")
    done = convert(source, tmp_path / "folder", to="safetensors")
    assert not [loss for loss in done.losses if loss.startswith(("vocabulary.p", "dim"))]
