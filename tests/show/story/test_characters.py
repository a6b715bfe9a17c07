"""An emoji of several tokens: marked, shaded and named as one character."""

from __future__ import annotations

import numpy as np
import pytest

from llama_edu.show.story.characters import character_runs
from llama_edu.show.story.choice import N_LIKELIEST
from llama_edu.show.story.description import writing_line
from llama_edu.show.story.lookahead import look_ahead
from llama_edu.show.story.token_colors import SHADES, colored_story_html
from llama_edu.show.story.token_html import choice_html, choice_label, story_html
from llama_edu.show.story.writing import Writing
from llama_edu.transformer.sampling import GREEDY, SamplingSettings

SPROUT = "\U0001f331"
#: In the tiny vocabulary byte pieces have the ids 3 + byte, and words come after them.
FOUR = [3 + byte for byte in SPROUT.encode()]
WORD = 259


@pytest.fixture
def write(llama, monkeypatch):
    """A function that makes the model write these ids."""

    def write(ids):
        coming = iter(ids)
        monkeypatch.setattr("llama_edu.transformer.generate.sample", lambda *_: next(coming))
        writing = Writing(llama, "the", len(ids), GREEDY, 1)
        assert len(list(writing)) >= len(ids)
        return writing

    return write


def test_the_tokens_of_a_character_belong_together(write):
    writing = write([WORD, *FOUR, *FOUR, WORD])
    assert writing.text.count(SPROUT) == 2
    runs = character_runs(writing.choices, writing.tokenizer)
    assert runs == [range(1), *[range(1, 5)] * 4, *[range(5, 9)] * 4, range(9, 10)]
    labels = [choice_label(writing.choices, i, writing.tokenizer) for i in range(1, 5)]
    assert labels == [f"{SPROUT} {part}/4" for part in (1, 2, 3, 4)]


def test_a_character_that_is_not_finished_is_one_run_and_the_end_is_said(write):
    writing = write([WORD, *FOUR[:3]])
    runs = character_runs(writing.choices, writing.tokenizer)
    assert runs == [range(1), *[range(1, 4)] * 3]
    assert writing.text.endswith("\ufffd") and "its last character is incomplete" in writing_line(
        writing
    )
    assert "incomplete" not in writing_line(write([WORD, *FOUR]))


def test_each_part_of_a_character_marks_all_of_it(write):
    writing = write([WORD, *FOUR, WORD])
    for html in (story_html, colored_story_html):
        marked = [html(writing, i) for i in range(1, 5)]
        assert len(set(marked)) == 1
        assert f">{SPROUT}</mark>" in marked[0] and marked[0].count("<mark") == 1
    assert "4 tokens: " in colored_story_html(writing, 2)


def test_a_character_is_shaded_as_its_least_likely_token(write):
    writing = write([*FOUR])
    assert min(choice.chosen.probability for choice in writing.choices) < 0.5
    html = colored_story_html(writing)
    shades = [opacity for _, opacity, _ in SHADES if f"{opacity:g})" in html]
    lowest = min(choice.chosen.probability for choice in writing.choices)
    assert shades == [next(o for bound, o, _ in SHADES if lowest >= bound)]


def test_the_table_says_how_positions_are_counted(write):
    writing = write([*FOUR])
    assert "where BOS is 0" in choice_html(writing.choices[1], writing.tokenizer)
    writing.tokenizer.adds_bos = False
    html = choice_html(writing.choices[1], writing.tokenizer)
    assert "counted from 0." in html and "BOS" not in html  # a chat template may have written one


def test_looking_ahead_does_not_end_in_half_a_character(llama, monkeypatch):
    coming = iter([WORD, *FOUR[:2]])
    monkeypatch.setattr("llama_edu.transformer.generate.sample", lambda *_: next(coming))
    ((_, text),) = look_ahead(llama, llama.tokenizer.encode("the"), [WORD], n_ahead=3)
    assert text and "\ufffd" not in text


def test_the_likeliest_are_those_of_a_full_sort_even_among_ties(llama):
    from llama_edu.show.story.choice import choice_of
    from llama_edu.transformer.generate import GeneratedToken

    rng = np.random.default_rng(5)
    logits = rng.integers(0, 9, 4000).astype(np.float32)  # hundreds of ties for the last place
    fields = dict.fromkeys(GeneratedToken.__dataclass_fields__)
    token = GeneratedToken(**fields | {"id": 17, "text": "x", "position": 3, "logits": logits})
    for settings in (SamplingSettings(0.8), SamplingSettings(0.8, top_p=0.5), GREEDY):
        choice = choice_of(token, settings, [17, 3])
        expected = np.argsort(-logits, kind="stable")[:N_LIKELIEST]
        assert [candidate.id for candidate in choice.likeliest] == expected.tolist()
    assert choice.likeliest[0].chance == 1 and choice.likeliest[1].chance == 0
