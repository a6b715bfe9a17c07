"""A text with stand-ins answers as the real text, and never loses one of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.chat.typed import StandIns, Typed

#: Characters that have stand-ins, and others: spaces of two kinds, a letter that grows in upper().
HIDDEN, OPEN = "<|im>s ", "x\nß."
STAND_INS = "".join(chr(0xF0000 + i) for i in range(len(HIDDEN)))
AMONG = StandIns(HIDDEN, STAND_INS)

texts = st.text(alphabet=HIDDEN + OPEN, max_size=12)
shorts = st.text(alphabet=HIDDEN + OPEN, min_size=1, max_size=2)


def real(value):
    """What a template would see: the value without stand-ins, of the same kind."""
    if isinstance(value, str):
        return AMONG.real(value)
    if isinstance(value, list | tuple):
        return type(value)(map(real, value))
    return value


def is_hidden(value) -> bool:
    """Whether no character that has a stand-in stands there in the open."""
    if isinstance(value, str):
        return not set(str.__str__(value)) & set(HIDDEN)
    return all(map(is_hidden, value)) if isinstance(value, list | tuple) else True


NO_ARGUMENTS = (
    "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "upper", "lower", "casefold",
    "title", "capitalize", "swapcase", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit",
    "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper",
    "encode", "__repr__", "__hash__", "__len__",
)  # fmt: skip
ONE_TEXT = (
    "strip", "lstrip", "rstrip", "split", "rsplit", "partition", "rpartition", "removeprefix",
    "removesuffix", "startswith", "endswith", "find", "rfind", "count", "__contains__", "__eq__",
    "__ne__", "__lt__", "__le__", "__gt__", "__ge__",
)  # fmt: skip


@given(texts)
@pytest.mark.parametrize("name", NO_ARGUMENTS)
def test_a_method_answers_as_the_real_text_and_keeps_the_stand_ins(name, text):
    found = getattr(AMONG.hidden(text), name)()
    assert real(found) == getattr(text, name)()
    if name != "__repr__":
        assert is_hidden(found)


@given(texts, shorts, st.booleans())
@pytest.mark.parametrize("name", ONE_TEXT)
def test_a_method_with_a_text_answers_as_the_real_one(name, text, other, is_typed):
    argument = AMONG.hidden(other) if is_typed else other
    found = getattr(AMONG.hidden(text), name)(argument)
    assert real(found) == getattr(text, name)(other)
    assert is_hidden(found)


@given(texts, st.text(alphabet=HIDDEN, max_size=2), texts, st.integers(-1, 3))
def test_replace_keeps_what_the_template_puts_in_and_hides_the_rest(text, old, new, count):
    found = AMONG.hidden(text).replace(old, new, count)
    assert real(found) == text.replace(old, new, count)
    hidden_new = AMONG.hidden(text).replace(old, AMONG.hidden(new), count)
    assert real(hidden_new) == text.replace(old, new, count)
    assert is_hidden(hidden_new)


@given(texts, shorts, st.integers(-1, 2))
def test_a_limited_split_answers_as_the_real_one(text, sep, count):
    typed = AMONG.hidden(text)
    assert real(typed.split(sep, count)) == text.split(sep, count)
    assert real(typed.rsplit(sep, count)) == text.rsplit(sep, count)
    assert real(typed.split(None, count)) == text.split(None, count)
    assert real(typed.rsplit(None, count)) == text.rsplit(None, count)
    assert real(typed.splitlines(True)) == text.splitlines(True)


@given(texts, st.integers(-3, 12), st.integers(-3, 12))
def test_slices_are_typed_and_so_are_single_characters(text, start, end):
    typed = AMONG.hidden(text)
    assert real(typed[start:end]) == text[start:end] and is_hidden(typed[start:end])
    assert [real(c) for c in typed] == list(text) and is_hidden(list(typed))
    assert all(isinstance(c, Typed) for c in typed)


def test_a_text_knows_who_wrote_which_part_after_it_was_joined_and_cut():
    joined = "<s>" + AMONG.hidden("<s>") + "<s>"
    assert real(joined) == "<s><s><s>"
    assert isinstance(joined, Typed) and str(joined) is joined
    assert joined[:3].__str__() == "<s>" and joined[6:].__str__() == "<s>"
    assert is_hidden(joined[3:6])
    pieces = joined.split("s>")
    assert [real(p) for p in pieces] == ["<", "<", "<", ""]
    assert [is_hidden(p) for p in pieces] == [False, True, False, True]
    assert "".join(("a", AMONG.hidden("<s>"))).count("<") == 0
    assert is_hidden("{}".format(AMONG.hidden("<s>"))) and is_hidden("%s" % AMONG.hidden("<s>"))  # noqa: UP031


def test_it_is_a_key_and_a_member_as_the_real_text():
    typed = AMONG.hidden("<s>")
    assert {"<s>": 1}[typed] == 1
    assert typed in ["x", "<s>"] and typed == "<s>" and typed != "<x>"
    assert real(2 * typed) == "<s><s>" and is_hidden(typed * 2)
