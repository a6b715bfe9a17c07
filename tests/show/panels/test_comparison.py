"""ComparisonWidget with no front end: two weight types or settings, and where texts diverge."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.panels import wait_for
from helpers.small_models import (
    llama2c_v0,
    old_config,
    random_weights,
    small_vocabulary,
    tokenizer_bin,
)
from helpers.tiny import Turnstile, open_tiny

import llama_edu
from llama_edu.errors import RequestError
from llama_edu.quants.blocks import dequantize

pytest.importorskip("ipywidgets")
from llama_edu.show import ComparisonWidget
from llama_edu.show.runtime.weight_types import WeightTypes


@pytest.fixture
def files(tmp_path, rng):
    """A model whose rows are whole blocks of 32, and its tokenizer."""
    config = old_config(vocab_size=271)
    weights = random_weights(config, rng)
    weights["output"][1:3] = 0
    model, tokenizer = tmp_path / "blocks.bin", tmp_path / "tokenizer.bin"
    model.write_bytes(llama2c_v0(config, weights))
    tokenizer.write_bytes(tokenizer_bin(small_vocabulary()))
    return model, tokenizer


@pytest.fixture
def make(maker, files):
    make = maker(ComparisonWidget, tokenizer=files[1], prompt="the", n_tokens=20)
    return lambda model=files[0], **kwargs: make(model, **kwargs)


def test_converted_weights_are_the_stored_ones_rounded(files):
    types = WeightTypes(*files)
    stored = types.stored.weights["layers.1.w_up"].copy()
    np.testing.assert_array_equal(types.open("f32").weights["layers.1.w_up"], stored)
    rounded = dequantize(types.open("q4_0").weights["layers.1.w_up"])
    largest = np.abs(stored.reshape(-1, 32)).max(axis=1)
    error = np.abs(rounded - stored).reshape(-1, 32).max(axis=1)
    assert error.max() > 0 and np.all(error <= 1.01 * largest / 8)
    assert types.open("q4_0") is types.open("q4_0")
    types.close()
    assert not types.stored.weights


def test_nothing_is_left_in_the_temporary_folder(files, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    types = WeightTypes(*files)
    assert types.open("q8_0").weights and list(folder.iterdir()) == []
    types.close()


def test_each_side_is_what_that_model_writes_alone(files, make):
    widget = make(
        left={"weights": "f32"}, right={"weights": "q4_0", "temperature": 1.3, "top_k": 7}
    )
    assert widget.start() is widget and widget.wait(30)
    types = WeightTypes(*files)
    left = types.open("f32").generate("the", 20, temperature=0)
    right = types.open("q4_0").generate("the", 20, temperature=1.3, top_k=7, seed=1)
    assert widget.texts == ("the" + "".join(left), "the" + "".join(right))
    types.close()


def test_the_first_difference_is_counted_marked_and_named(make):
    widget = make(left={"temperature": 2.0, "seed": 1}, right={"temperature": 2.0, "seed": 2})
    widget.start_button.click()
    assert widget.wait(30)
    left, right = (
        [c.chosen.id for c in side.writing.choices] for side in (widget.left, widget.right)
    )
    n = widget.n_same
    assert left[:n] == right[:n] and left[n] != right[n]
    assert f"The first {n} new tokens are the same" in widget._status.value
    for side in (widget.left, widget.right):
        assert side._story.value.count("<mark") == 1
        assert "text-decoration" in side._story.value.partition("<mark")[2]
    assert widget.summary in repr(widget)


def test_equal_sides_do_not_part(make):
    widget = make(left={}, right={}).start()
    assert widget.wait(30) and widget.n_same is None
    assert widget.texts[0] == widget.texts[1] != "the"
    assert widget.summary == "The texts are the same to the end: 20 new tokens."
    assert "<mark" not in widget.left._story.value


def test_stop_ends_both_sides(tmp_path, rng, make, monkeypatch):
    with open_tiny(tmp_path, rng) as llama:
        turnstile = Turnstile(llama, monkeypatch)
        widget = make(llama, left={}, right={"temperature": 1.0, "top_k": 5}).start()
        turnstile.let_pass(6)
        wait_for(lambda: widget.right.writing and len(widget.right.writing.choices) >= 3)
        widget.stop_button.click()
        turnstile.let_pass(2)
        assert widget.wait(20) and widget.reason == "stopped, stopped"
        assert len(widget.left.writing.choices) <= 4
        assert not widget.start_button.disabled and widget.stop_button.disabled
        widget.close()
        assert llama.weights, "a model that was given is not closed"


def test_a_type_that_the_model_cannot_have_is_said_in_the_panel(tmp_path, rng, make):
    with open_tiny(tmp_path, rng) as llama:
        widget = make(llama, tokenizer=tmp_path / "tokenizer.bin").start()
        assert widget.wait(20)
        assert widget.reason.startswith("failed: ") and 'role="alert"' in widget._status.value
        assert "q4_0" in widget.reason and "32" in widget.reason
        assert not widget.start_button.disabled
        widget.close()


def test_a_model_that_is_missing_is_said_in_the_panel(tmp_path):
    widget = ComparisonWidget(tmp_path / "missing.gguf")
    assert "missing.gguf" in widget.reason and "missing.gguf" in repr(widget)
    assert widget.start().wait(20) and "missing.gguf" in widget._status.value
    widget.close()


def test_rounding_twice_is_told(make, files, tmp_path):
    from llama_edu.convert import convert

    path = tmp_path / "q8.gguf"
    convert(files[0], path, to="gguf", type="q8_0", tokenizer=files[1])
    widget = make(path, tokenizer=None, left={}, right={"weights": "q4_0"}).start()
    assert widget.wait(30) and widget.reason == "length, length"
    assert "rounded a second time" in widget.right._status.value
    assert "rounded" not in widget.left._status.value


def test_unknown_names_are_refused(files):
    for side, message in (
        ({"wieghts": "f32"}, "left: 'wieghts', expected one of weights, temperature"),
        ({"weights": "q9"}, "left: weights are 'q9', expected one of as stored, f32"),
        ({"temperature": -1.0}, "temperature is -1"),
    ):
        with pytest.raises(RequestError, match=message):
            ComparisonWidget(files[0], tokenizer=files[1], left=side)


def test_what_a_model_says_is_never_markup(tmp_path, rng, files, make):
    pieces = [
        (b"<script>alert(1)</script>", score) if n > 258 else (piece, score)
        for n, (piece, score) in enumerate(small_vocabulary())
    ]
    files[1].write_bytes(tokenizer_bin(pieces))
    wild = {"temperature": 2.0}
    widget = make(prompt="<b>", left=wild | {"seed": 1}, right=wild | {"seed": 2})
    assert widget.start().wait(30)
    assert any("<script>" in text for text in widget.texts), "this test shows nothing"
    shown = "".join(part.value for side in (widget.left, widget.right)
                    for part in (side._story, side._status)) + widget._status.value  # fmt: skip
    assert "<script" not in shown and "&lt;script" in shown and "&lt;b&gt;" in shown


def test_the_bundled_model_is_the_default(make):
    widget = make(None, tokenizer=None, prompt="Once upon a time", n_tokens=5).start()
    assert widget.wait(60) and widget.reason == "length, length"
    assert (widget.left.weights.value, widget.right.weights.value) == ("f32", "q4_0")
    with llama_edu.load(llama_edu.bundled_checkpoint()) as llama:
        expected = "".join(llama.generate("Once upon a time", 5, temperature=0))
    assert widget.texts[0] == "Once upon a time" + expected


def test_what_was_stated_to_load_holds_for_converted_weights_too(files):
    model, tokenizer = files
    given = {"tokenizer": tokenizer, "context": 77, "rope_theta": 5e4, "rope_factor": 3.0,
             "norm_eps": 1e-3, "threads": 1, "kernels": "numpy"}  # fmt: skip
    with llama_edu.load(model, **given) as llama:
        types = WeightTypes(llama, None)
        copied = types.open("f32")
        assert copied.config == llama.config and copied.config.max_seq_len == 77
        assert copied.tokenizer.encode("the fox") == llama.tokenizer.encode("the fox")
        assert copied.model.threads == 1 and copied.kernels == "numpy"
        ids = llama.tokenizer.encode("the fox told")
        np.testing.assert_allclose(copied.logits(ids), llama.logits(ids), atol=1e-5)
        with llama_edu.load(model, tokenizer=tokenizer) as plain:
            assert np.abs(plain.logits(ids) - llama.logits(ids)).max() > 1e-3
        types.close()


def test_texts_that_part_inside_a_character_show_the_whole_of_it(make, monkeypatch):
    sprouts = [3 + byte for byte in "\U0001f331".encode()]
    suns = [3 + byte for byte in "\U0001f31e".encode()]
    coming = iter([id for pair in zip([259, *sprouts], [259, *suns], strict=True) for id in pair])
    monkeypatch.setattr("llama_edu.transformer.generate.sample", lambda *_: next(coming))
    widget = make(n_tokens=5, left={}, right={})
    assert widget.start().wait(60) and not widget._worker.failure
    assert widget.n_same == 4 and "“\U0001f331 4/4” left, “\U0001f31e 4/4” right" in widget.summary
    assert ">\U0001f331</mark>" in widget.left._story.value
    assert ">\U0001f31e</mark>" in widget.right._story.value
