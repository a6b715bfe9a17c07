"""The guess: it keeps the reader's number, and reports when no guess was made."""

from __future__ import annotations

import re

import pytest

from llama_edu.errors import RequestError

pytest.importorskip("ipywidgets")
from llama_edu.show import guess


def test_the_number_stands_beside_the_truth():
    question = guess("How much?", 0, 100)
    question.slider.value = 12
    beside = question.beside(95.36)
    assert repr(beside) == "your guess: 12 %, the truth: 95.4 %"
    html = beside._repr_html_()
    assert "width: 12.0%" in html and "width: 95.4%" in html


def test_nothing_can_be_guessed_too():
    question = guess("How much?", 0, 100)
    question.slider.value = 0
    assert repr(question.beside(0)) == "your guess: 0 %, the truth: 0 %"


def test_without_a_guess_the_truth_is_folded_away():
    question = guess("How many?", 0, 5000, unit=" pages")
    assert question.number is None
    html = question.beside(2759)._repr_html_()
    before, summary, box = re.split("<summary>|</summary>", html)
    assert "2,759 pages" in box and box.endswith("</details>") and "your guess" not in html
    assert before.startswith("<details style=") and " open" not in before
    assert not re.search(r"2,?759|55\.2", before + summary), "the truth can be seen"


def test_with_a_guess_nothing_is_folded():
    question = guess("How many?", 0, 5000, unit=" pages")
    question.slider.value = 1000
    assert "<details" not in question.beside(2759)._repr_html_()


def test_what_is_compared_depends_on_the_truth_without_a_guess_too():
    """nbval and tools/run_notebooks.py compare the plain text, which no notebook shows."""
    question = guess("How many?", 0, 5000, unit=" pages")
    assert repr(question.beside(2759)) == "no guess was made; the truth: 2,759 pages"
    assert repr(question.beside(2759)) != repr(question.beside(2760))
    assert question.beside(2759)._repr_html_() != question.beside(2760)._repr_html_()


def test_a_truth_beyond_the_scale_fills_it():
    assert "width: 100.0%" in guess("How long?", 1, 10).beside(1e9)._repr_html_()


def test_the_question_stands_where_no_slider_can_be_shown_and_is_never_markup():
    question = guess("Is a < b & <b>c</b>?", 0, 10, unit=" ms", step=0.5)
    assert question._repr_mimebundle_()["text/plain"] == (
        "guess: Is a < b & <b>c</b>? (0 to 10 ms)"
    )
    assert "<b>" not in question.children[0].value


def test_a_slider_of_no_length_is_refused():
    with pytest.raises(RequestError, match="from 5 to 5 in steps of 1, expected low < high"):
        guess("?", 5, 5)
