"""The text that is scored and the one that calibrates: what they are, and that they differ."""

from __future__ import annotations

import pytest
from helpers.tiny import open_tiny

import llama_edu
from llama_edu.errors import RequestError
from llama_edu.slimmer import texts as module
from llama_edu.slimmer.texts import texts_for
from llama_edu.tokenizer.text_file import read_text_file


@pytest.fixture(scope="module")
def stories():
    with llama_edu.load(llama_edu.bundled_checkpoint()) as llama:
        yield llama


def written(tmp_path, text):
    path = tmp_path / "my text.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_the_stories_are_the_first_held_out_ones_of_the_grammar():
    from make_corpus import corpus

    _, (stories, _, _) = corpus(0, 12)
    assert module._STORIES.read_text("utf-8") == "\n\n".join(stories) + "\n"


def test_each_story_is_read_as_in_training(stories):
    texts = texts_for(stories)
    assert len(texts.scored) == len(texts.calibration) == 6
    assert texts.n_scored == 1873
    tokenizer = stories.tokenizer
    for ids in (*texts.scored, *texts.calibration):
        assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id
    told = [tokenizer.decode(ids) for ids in (*texts.scored, *texts.calibration)]
    assert len(set(told)) == 12 and "\n\n".join(told) + "\n" == module._STORIES.read_text("utf-8")
    assert "held out from its training" in texts.source


def test_a_file_is_cut_into_windows_and_the_rest_is_said(stories, tmp_path):
    path = written(tmp_path, "A fox saw the sea and the hill. " * 40)
    tokenizer = stories.tokenizer
    ids = tokenizer.encode(path.read_text(), bos=False)
    texts = texts_for(stories, path, n_windows=3, context=11)
    assert texts.scored == [[tokenizer.bos_id, *ids[i : i + 10]] for i in (0, 10, 20)]
    assert texts.calibration == [[tokenizer.bos_id, *ids[i : i + 10]] for i in (30, 40, 50)]
    assert texts.n_scored == 30
    assert texts.source == (
        f"my text.txt: tokens 1 to 30 of {len(ids):,} (calibration: the 30 after them)"
    )


def test_of_a_short_file_each_gets_a_half(stories, tmp_path):
    path = written(tmp_path, "A fox saw the sea and the hill.")
    ids = stories.tokenizer.encode(path.read_text(), bos=False)
    texts = texts_for(stories, path)
    half = len(ids) // 2
    assert [texts.scored[0][1:], texts.calibration[0][1:]] == [ids[:half], ids[half : 2 * half]]


def test_a_model_without_bos_gets_none_and_pieces_of_one_id_are_left_out(
    stories, tmp_path, monkeypatch
):
    monkeypatch.setattr(stories.tokenizer, "adds_bos", False)
    path = written(tmp_path, "A fox saw the sea and the hill. " * 9)
    ids = stories.tokenizer.encode(path.read_text(), bos=False)
    size = len(ids) // 2 - 1
    texts = texts_for(stories, path, context=size)
    assert texts.scored == [ids[:size]]
    story = texts_for(stories).scored[0]
    assert story[0] != stories.tokenizer.bos_id and story[-1] != stories.tokenizer.eos_id


def test_stories_longer_than_the_context_are_cut_and_that_is_said(tmp_path, rng):
    with open_tiny(tmp_path, rng) as llama:
        texts = texts_for(llama)
    assert {len(ids) for ids in (*texts.scored, *texts.calibration)} == {50}
    assert "each cut to the model's context of 50 tokens" in texts.source


@pytest.mark.parametrize(
    ("text", "found"), [("", "0 tokens"), ("a", "1 token"), ("a b c", "3 tok")]
)
def test_a_text_that_is_too_short_is_refused(stories, tmp_path, text, found):
    path = written(tmp_path, text)
    with pytest.raises(RequestError, match=f"my text.txt: {found}.*at least 4.*a longer text"):
        texts_for(stories, path)


def test_a_text_of_two_tokens_for_each_half_is_enough(stories, tmp_path):
    texts = texts_for(stories, written(tmp_path, "a b c d"))
    assert texts.n_scored == 2 and len(texts.calibration[0]) == 3


def test_a_text_that_cannot_be_read_is_refused(stories, tmp_path):
    with pytest.raises(RequestError, match="byte 2 is 0xe4, which is not UTF-8"):
        texts_for(stories, written(tmp_path, b"ab\xe4r"))
    with pytest.raises(RequestError, match=r"none.txt: cannot be read \(No such file"):
        texts_for(stories, tmp_path / "none.txt")
    with pytest.raises(RequestError, match="cannot be read"):
        read_text_file(tmp_path)


def test_a_name_in_the_source_commands_no_terminal(stories, tmp_path):
    path = tmp_path / "a\x1b[31m.txt"
    path.write_text("A fox saw the sea and the hill.")
    assert "\x1b" not in texts_for(stories, path).source
