"""What objects say of themselves in a notebook: short, the same every time, and never markup."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.tiny import open_tiny

from llama_edu.config import ModelConfig
from llama_edu.files.detect import read_checkpoint
from llama_edu.files.layout import Checkpoint, TensorSpec
from llama_edu.html import escaped, escaped_lines, facts_html, note_html
from llama_edu.transformer.cache import KVCache

EVIL = '<img src=x onerror="alert(1)">\x1b[2J'


@pytest.fixture
def hostile(config):
    spec = TensorSpec(EVIL, "f32", (3, 5), 7, 60, stored_name=EVIL)
    path = Path(EVIL)
    return Checkpoint("ggjt v1", EVIL, (path,), config, {EVIL: spec}, tokenizer_path=path)


def test_every_object_has_a_short_text_and_an_html_form(tmp_path, rng):
    with open_tiny(tmp_path, rng) as llama:
        objects = [llama, llama.checkpoint, llama.checkpoint.tensors["output"],
                   KVCache(llama.config, 7)]  # fmt: skip
        for thing in objects:
            assert 20 < len(repr(thing)) < 200 and "\n" not in repr(thing)
            assert repr(thing).startswith(type(thing).__name__ + "(")
            assert str(tmp_path) not in repr(thing) + thing._repr_html_()
            assert thing._repr_html_() == thing._repr_html_()
            assert "<table>" in thing._repr_html_()
        again = read_checkpoint(tmp_path / "tiny.bin")
        assert repr(again) == repr(llama.checkpoint)
        assert again._repr_html_() == llama.checkpoint._repr_html_()
        del objects, thing


def test_the_html_names_the_facts(config):
    spec = TensorSpec("layers.0.wq", "f16", (12, 24), 1_234_567, 576, stored_name="blk.0.attn_q")
    html = spec._repr_html_()
    for fact in ("layers.0.wq", "f16", "12 x 24", "1,234,567", "576", "blk.0.attn_q"):
        assert fact in html
    assert repr(spec) == (
        "TensorSpec('layers.0.wq', f16, (12, 24), bytes 1,234,567 to 1,235,143 of file 0)"
    )
    cache = KVCache(config, 7)
    cache.length = 3
    assert "3 of 7 filled" in cache._repr_html_()


def test_text_from_a_file_is_never_markup_nor_a_terminal_command(hostile):
    spec = hostile.tensors[EVIL]
    for thing in (hostile, spec):
        assert "<img" not in thing._repr_html_() and "&lt;img" in thing._repr_html_()
        assert "\x1b" not in thing._repr_html_() and "\x1b" not in repr(thing)


HOSTILE = EVIL + "\x00\u202e\u2066\ud800\r&amp;'\""


@pytest.mark.parametrize(
    "make",
    [
        escaped, escaped_lines, note_html, lambda text: note_html(text, is_error=True),
        lambda text: facts_html(text, {text: text}),
    ],
)  # fmt: skip
def test_every_function_shows_hostile_text_and_obeys_none_of_it(make):
    html = make(HOSTILE)
    assert "<img" not in html and "&lt;img src=x onerror=&quot;" in html
    for character, escape in {
        "\x1b": r"\x1b", "\x00": r"\x00", "\u202e": r"\u202e", "\u2066": r"\u2066",
        "\ud800": r"\ud800", "\r": r"\r", "&amp;": "&amp;amp;", "'": "&#x27;",
    }.items():  # fmt: skip
        assert escape in html and (character not in html or character in make("") + escape)
    html.encode("utf-8")


def test_line_ends_are_kept_only_by_the_function_for_lines():
    assert escaped("a\nb<") == r"a\nb&lt;" and escaped_lines("a\nb<") == "a\nb&lt;"


def test_only_an_error_is_read_aloud():
    assert 'role="alert"' in note_html("no", is_error=True) and "role" not in note_html("yes")


def test_a_name_of_megabytes_is_cut():
    assert len(facts_html("x" * 10**6, {"y" * 10**6: "z" * 10**6})) < 2000


def test_numbers_have_separators_and_booleans_stay():
    html = facts_html("t", {"n": 1234567, "yes": True})
    assert "1,234,567" in html and "True" in html


def test_a_config_is_short_enough_as_it_is(config):
    assert isinstance(config, ModelConfig) and len(repr(config)) < 300
