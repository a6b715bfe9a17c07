"""The page map within one token, and its words as buttons, with no front end."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.records import random_steps
from helpers.tiny import write_tiny

from llama_edu.errors import RequestError
from llama_edu.experiments.observe.within_token import within_token

pytest.importorskip("ipywidgets")
from llama_edu.show import PageMapWidget
from llama_edu.show.panels.page_map import widget as page_map_module


@pytest.fixture
def tiny(tmp_path, rng):
    return write_tiny(tmp_path, rng)


@pytest.fixture
def written(maker, tiny):
    """A widget whose text is complete: the prompt and seven tokens were read."""
    widget = maker(PageMapWidget, prompt="the", n_tokens=8, tokenizer=tiny[1])(tiny[0])
    assert widget.start().wait(60) and len(widget.touches) == 8
    return widget


def shown_words(widget):
    return [b for b in widget.view.words.buttons if b.layout.display != "none"]


def test_pressing_a_word_puts_the_replay_to_its_token(written):
    buttons = shown_words(written)
    assert [b.tooltip for b in buttons] == ["Look at prompt"] + [
        f"Look at token {i}" for i in range(1, 8)
    ]
    assert [b.button_style for b in buttons].index("info") == 7
    buttons[3].click()
    assert written.controls.step_slider.value == 4
    assert [b.button_style for b in shown_words(written)].index("info") == 3
    written.choose(0)
    assert written.controls.step_slider.value == 1
    with pytest.raises(RequestError, match="step 8, expected 0 to 7; the text has 8 steps"):
        written.choose(8)


def test_words_of_records_can_be_pressed_too(rng):
    widget = PageMapWidget.of(random_steps(30, 20, rng))
    assert widget.controls.level.layout.display == "none"
    widget.choose(9)
    assert [b.description for b in shown_words(widget)] == [f"␣t{i}" for i in range(4, 15)]
    with pytest.raises(RequestError, match="expected a model to look into a token with"):
        widget.look_within()


def test_within_a_token_the_slider_goes_through_its_parts(written, tiny):
    read = [step.tokens for step in written.touches.steps]
    assert written.look_within(5).wait(60)
    expected = within_token(tiny[0], [id for ids in read[:5] for id in ids], read[5])
    controls, within = written.controls, written.view.within
    assert controls.step_slider.max == controls.step_slider.value == len(expected)
    for ours, theirs in zip(within.steps, expected.steps, strict=True):
        assert ours.text == theirs.text and np.array_equal(ours.record.pages, theirs.record.pages)
    assert controls.level.value == "within" and "Within token 5" in controls.status.value
    fractions, faults = [], []
    for n_parts in range(1, len(within) + 1):
        controls.step_slider.value = n_parts
        assert controls.parts.value.count("<mark") == 1
        name = within.steps[n_parts - 1].text
        assert f">{name}</mark>" in controls.parts.value
        assert controls.story.value.count("<mark") == 1  # the token stays marked in its text
        fractions.append(within.summary(n_parts).touched_fraction)
        faults.append(controls.totals.value)
    assert fractions == sorted(fractions) and fractions[0] < fractions[-1]
    assert len(set(faults)) == len(faults)  # both bars follow the slider
    assert "within token 5" in repr(written) and f"{len(within)} parts: " in repr(written)
    assert "the part that needed the page first" in controls.legend.value
    assert "layer 0" in controls.legend.value
    assert written.figure().alt == repr(written)
    assert "which part of a token needed" in written.figure().figure.axes[0].get_title("left")


def test_the_buttons_of_the_level_do_what_the_methods_do(written):
    controls = written.controls
    controls.step_slider.value = 3
    controls.level.value = "within"
    assert written.wait(60) and written.view.within is not None and written.view.token == 2
    shown_words(written)[6].click()  # within, a word leads into its token
    assert written.wait(60) and written.view.token == 6 and written.view.within is not None
    controls.level.value = "text"
    assert written.view.within is None and controls.step_slider.value == 7
    assert controls.step_slider.max == 8 and controls.parts.value == ""
    assert "the token that needed the page first" in controls.legend.value
    written.look_within().wait(60)
    written.look_at_text()
    assert controls.level.value == "text"


def test_colors_keep_their_meaning_from_level_to_level(written):
    controls = written.controls
    for mode in ("count", "now", "last"):
        controls.mode.value = mode
        written.look_within(1).wait(60)
        assert controls.mode.value == mode
        written.look_at_text()
        assert controls.mode.value == mode


def test_the_prompt_can_be_looked_into(written):
    written.look_within(0).wait(60)
    assert "within the prompt" in repr(written)


def test_a_new_text_begins_at_the_level_of_the_text(written):
    written.look_within(2).wait(60)
    assert written.start().wait(60)
    assert written.view.within is None and written.controls.level.value == "text"
    assert written.controls.step_slider.max == 8


def test_what_fails_within_is_said_and_the_text_stays(written, tiny, monkeypatch):
    tiny[0].unlink()
    written.look_within(2).wait(60)
    assert "no such file" in written.controls.status.value
    assert written.view.within is None and written.controls.level.value == "text"
    assert not written.controls.level.disabled


def test_while_something_runs_the_level_stays_as_it_is(written, monkeypatch):
    monkeypatch.setattr(page_map_module.Worker, "start", lambda *_, **__: False)
    written.controls.level.value = "within"
    assert written.controls.level.value == "text" and written.view.within is None
