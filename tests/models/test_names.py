"""A path, a short name, or neither: what `locate` and everything that opens a model make of it."""

from __future__ import annotations

import pytest

import llama_edu
from llama_edu.errors import FormatError
from llama_edu.models import locate
from llama_edu.models.known import KNOWN


@pytest.fixture
def stories():
    return llama_edu.bundled_checkpoint()


def test_a_short_name_is_the_place_of_its_model(in_folder, stories):
    assert locate("stories") == stories
    with llama_edu.load("stories") as llama:
        assert llama.checkpoint.paths[0].parent == stories


def test_what_exists_as_a_path_is_never_taken_for_a_name(in_folder):
    (in_folder / "stories").write_bytes(b"no model")
    with pytest.raises(FormatError, match="stories: starts with b'no model'"):
        llama_edu.load("stories")
    (in_folder / "smollm2").symlink_to("nowhere")
    with pytest.raises(FormatError, match="smollm2: no such file; check the path"):
        llama_edu.load("smollm2")


@pytest.mark.parametrize(
    ("word", "near"),
    [("smolm2", "smollm2"), ("SmolLM2", "smollm2"), ("story", "stories"), ("Stories", "stories")],
)
def test_an_unknown_word_is_answered_with_the_known_names_and_the_closest(in_folder, word, near):
    *others, last = (model.name for model in KNOWN)
    names = f"{', '.join(others)} and {last}"
    with pytest.raises(FormatError) as refused:
        llama_edu.load(word)
    assert str(refused.value) == (
        f"{word}: no such file, and no model has this name; known names are {names} (closest: "
        f"{near}); check the path, or see: llama-edu models"
    )


def test_a_word_that_is_like_no_name_is_compared_with_none(in_folder):
    with pytest.raises(
        FormatError, match=r"known names are stories, stories-moe, stories-relu and smollm2; check"
    ):
        llama_edu.load("qqq")


@pytest.mark.parametrize(
    "path",
    ["x.gguf", "smollm2.gguf", "a/b/c", "./smolm2", "../x", "/none", "a/m.bin", "c:\\m", "x" * 300,
     "", "~nobody-has-this-name/x", "a\0b"],
)  # fmt: skip
def test_what_looks_like_a_path_stays_one(in_folder, path):
    """Whoever opens it says what is wrong with it."""
    with pytest.raises(FormatError) as refused:
        llama_edu.load(path)
    assert "no model has this name" not in str(refused.value)
    assert "hub" not in str(refused.value)


def test_the_home_folder_is_expanded(in_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "m").mkdir()
    assert locate("~/m") == tmp_path / "m"


def test_every_command_that_takes_a_file_takes_a_name(run_cli, in_folder):
    (in_folder / "t.txt").write_text("Once upon a time")
    for arguments, expected in (
        (
            ["generate", "stories", "--prompt", "Once", "--n-tokens", "2", "--kernels", "numpy"],
            "Once",
        ),
        (["inspect", "stories"], "Meta"),
        (["convert", "stories", "s.ggjt"], "ggjt"),
        (["residency", "stories"], "consolidated.00.pth"),
        (["tokenize", "stories", "Once"], "Once"),
        (["logits", "stories", "--text", "Once", "--out", "l.npy"], "l.npy"),
        (["perplexity", "stories", "--text-file", "t.txt"], "nats"),
        (["compare", "stories", "s.ggjt", "--tolerance", "1"], "same model"),
    ):
        code, out, err = run_cli(*arguments)
        assert (code, err) == (0, "") and expected in out, (arguments, out, err)


@pytest.mark.parametrize(
    "arguments",
    [["pages"], ["inspect", "--hex", "9"], ["experiment", "load-race", "--file"],
     ["experiment", "illusion", "--file"], ["residency"], ["generate", "stories", "--tokenizer"],
     ["convert", "stories", "x", "--tokenizer"]],
)  # fmt: skip
def test_and_says_which_names_there_are(run_cli, in_folder, arguments):
    code, _, err = run_cli(*arguments, "smolm2")
    assert code == 2 and err.startswith("llama-edu: smolm2: no such file, and no model has this")
