"""Characters that come in pieces: nothing is shown before it is whole, nothing is lost."""

from __future__ import annotations

from helpers.small_tokenizers import small_tokenizer, texts
from hypothesis import given

from llama_edu.tokenizer.streaming import StreamDecoder, decode


def bytes_of(text: str) -> list[int]:
    return [3 + byte for byte in text.encode()]


@given(texts)
def test_a_stream_of_bytes_joins_to_the_text(text):
    decoder = StreamDecoder(small_tokenizer(), at_start=False)
    shown = [decoder.push(token) for token in bytes_of(text)]
    assert "".join(shown) + decoder.finish() == text


def test_an_unfinished_character_waits_and_shows_nothing():
    decoder = StreamDecoder(small_tokenizer(), at_start=False)
    assert [decoder.push(token) for token in bytes_of("a\U0001f600b")] == [
        "a", "", "", "", "\U0001f600", "b"
    ]  # fmt: skip
    assert decoder.finish() == ""


def test_what_never_becomes_a_character_is_replaced_once():
    tokenizer = small_tokenizer()
    decoder = StreamDecoder(tokenizer, at_start=False)
    half = bytes_of("\u4f60")[:2]
    assert [decoder.push(token) for token in [*half, *bytes_of("a")]] == ["", "", "\ufffda"]
    for token in half:
        decoder.push(token)
    assert decoder.finish() == "\ufffd" and decoder.finish() == ""
    assert decode(tokenizer, [3 + ord("a"), 3 + 0xFF]) == "a\ufffd"


def test_only_the_first_space_of_a_text_is_dropped():
    tokenizer = small_tokenizer()
    space = tokenizer.encode(" ", bos=False)
    decoder = StreamDecoder(tokenizer, at_start=True)
    assert decoder.push(1) == ""  # BOS is no text, so the text still begins after it
    assert [decoder.push(266), decoder.push(266)] == ["", " "]
    assert StreamDecoder(tokenizer, at_start=False).push(266) == " "
    assert space
