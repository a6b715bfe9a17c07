"""Every token keeps its own text, although a stop string may hold text back for a while."""

from __future__ import annotations

import pytest

from llama_edu.show.story.characters import character_runs
from llama_edu.show.story.writing import Writing
from llama_edu.transformer.sampling import GREEDY

SPROUT = "\U0001f331"
#: In the tiny vocabulary byte pieces have the ids 3 + byte, and words come after them.
FOUR = [3 + byte for byte in SPROUT.encode()]


def letters(text):
    return [3 + byte for byte in text.encode()]


@pytest.fixture
def begin(llama, monkeypatch):
    """A function that prepares a text of these ids, with stop strings."""

    def begin(ids, stop):
        coming = iter(ids)
        monkeypatch.setattr("llama_edu.transformer.generate.sample", lambda *_: next(coming))
        return Writing(llama, "the", len(ids), GREEDY, 1, stop=stop)

    return begin


def texts(writing):
    return [choice.text for choice in writing.choices]


def test_text_that_was_held_back_belongs_to_the_tokens_that_wrote_it(begin):
    writing = begin(letters("fame"), ["familiar"])
    given = list(writing)
    assert given == ["", "", "", "fame"]
    assert texts(writing) == ["f", "a", "m", "e"]
    assert writing.text == "thefame"


def test_while_text_is_held_back_its_tokens_are_no_part_of_a_character(begin):
    writing = begin([*letters("ab"), *FOUR, *letters("c")], ["abX", SPROUT + "X"])
    steps = iter(writing)
    assert [next(steps), next(steps)] == ["", ""]
    assert texts(writing) == ["", ""]
    assert character_runs(writing.choices, writing.tokenizer) == [range(1), range(1, 2)]
    list(steps)
    assert texts(writing) == ["a", "b", "", "", "", SPROUT, "c"]
    runs = character_runs(writing.choices, writing.tokenizer)
    assert runs == [range(1), range(1, 2), *[range(2, 6)] * 4, range(6, 7)]


def test_tokens_of_a_stop_string_add_no_text(begin):
    writing = begin(letters("one\nUser: two"), ["\nUser:"])
    list(writing)
    assert writing.reason == "stop" and writing.text == "theone"
    assert texts(writing) == ["o", "n", "e", *[""] * 6]


def test_who_stops_sees_what_was_held_back(begin):
    writing = begin(letters("xfam"), ["familiar"])
    steps = iter(writing)
    assert [next(steps) for _ in range(3)] == ["x", "", ""]
    writing.end()
    assert texts(writing) == ["x", "f", "a"] and writing.reason == "stopped"


def test_a_character_that_is_cut_off_by_the_end_belongs_to_its_last_token(begin):
    writing = begin([*letters("a"), *FOUR[:2]], ["aX"])
    list(writing)
    assert texts(writing) == ["a", "", "\ufffd"]
