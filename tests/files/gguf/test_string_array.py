"""The fast walk over arrays of strings finds what a slow walk finds, whatever the strings are."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.errors import FormatError
from llama_edu.files.gguf.string_array import ByteStrings, Texts, string_starts

# like a vocabulary, and everything that the guess does not expect
pieces = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.sampled_from([b"", b"\0", b"\0" * 9, b"a" * 300, b"\0" * 700, b"\x07" + b"\0" * 7]),
)


def packed(strings, width, order) -> bytes:
    letter = order + ("Q" if width == 8 else "I")
    return b"".join(struct.pack(letter, len(s)) + s for s in strings)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("width", [4, 8])
@given(strings=st.lists(pieces, max_size=40), repeat=st.sampled_from([1, 7, 400]))
def test_every_string_is_found(width, order, strings, repeat):
    strings = strings * repeat
    raw = packed(strings, width, order)
    data = b"before" + raw + packed([b"after", b"", b"more"], width, order)
    starts, end = string_starts(
        data, 6, len(strings), length_bytes=width, order=order, where="test"
    )
    assert end == 6 + len(raw)
    found = ByteStrings(raw, starts - 6, width)
    assert found[:] == list(found) == strings
    assert [raw[a + width : b] for a, b in found.spans()] == strings


@pytest.mark.parametrize("order", "<>")
@given(strings=st.lists(st.binary(min_size=1, max_size=9), min_size=70, max_size=90))
def test_a_string_that_passes_the_end_is_named(order, strings):
    raw = packed(strings, 8, order)
    with pytest.raises(FormatError, match=f"string {len(strings) - 1} has a length of"):
        string_starts(raw[:-1], 0, len(strings), length_bytes=8, order=order, where="test")


def test_texts_replace_what_is_not_utf8():
    raw = packed([b"ab", b"\xff"], 8, "<")
    starts, _ = string_starts(raw, 0, 2, length_bytes=8, order="<", where="test")
    texts = Texts(ByteStrings(raw, starts, 8))
    assert list(texts) == ["ab", "\ufffd"]
    assert texts[-1] == "\ufffd" and texts[0:1] == ["ab"]
    with pytest.raises(IndexError):
        texts[2]
