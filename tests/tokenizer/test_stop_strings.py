"""Stop strings end a text wherever it is cut, and no part of one is let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.errors import RequestError
from llama_edu.tokenizer.stop_strings import MOST_CHARACTERS, StopStrings

LETTERS = st.sampled_from("ab\U0001f600")
STOPS = st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=4)
PARTS = st.lists(st.text(LETTERS, max_size=4), max_size=8)


def slow(text: str, stops: list[str]) -> tuple[str, str]:
    """The text before the stop string that is complete first, the longest of several; and which."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, ""


@given(STOPS, PARTS)
def test_what_passes_is_the_text_before_the_first_stop_string_however_it_is_cut(stops, parts):
    watch, given_out = StopStrings(stops), ""
    whole, read = slow("".join(parts), stops)[0], ""
    for part in parts:
        given_out += watch.push(part)
        read += part
        assert whole.startswith(given_out)  # nothing is given out that a stop string takes back
        if not watch.found:  # and nothing is held back that begins no stop string
            held = read[len(given_out) :]
            assert not held or any(stop.startswith(held) for stop in stops)
    given_out += watch.finish()
    assert (given_out, watch.found) == slow("".join(parts), stops)


def test_ten_thousand_stop_strings_are_searched_for_at_once():
    stops = [f"{n:05d}." for n in range(10_000)]
    watch = StopStrings(stops)
    assert "".join(map(watch.push, "0123 01234 0987")) == "0123 01234 "
    assert watch.push("6.!") == "" and watch.found == "09876."
    assert watch.push("more") == "" and watch.finish() == ""


def test_a_stop_string_longer_than_the_text_holds_it_back_until_the_end():
    watch = StopStrings("a" * 5000)
    assert "".join(watch.push("a") for _ in range(4000)) == "" and watch.finish() == "a" * 4000


@pytest.mark.parametrize(
    ("stop", "says"),
    [
        ("", "one of the strings is '', expected text"),
        (["a", ""], "one of the strings is '', expected text"),
        (["a", b"b"], "one of the strings is b'b', expected text"),
        (["x" * (MOST_CHARACTERS + 1)], "1,000,001 characters in all, expected at most 1,000,000"),
    ],
)
def test_impossible_stop_strings_are_refused(stop, says):
    with pytest.raises(RequestError, match=says):
        StopStrings(stop)
