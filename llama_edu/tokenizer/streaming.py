"""Token ids back to text, one at a time, as a text is generated."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Protocol


class Pieces(Protocol):
    """What decoding needs of a tokenizer."""

    adds_space: bool

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text."""


def decode(tokenizer: Pieces, tokens: Iterable[int]) -> str:
    """The text of token ids, without the space that the encoder prepended.

    Bytes that are not UTF-8 become U+FFFD.
    """
    return "".join(decode_stream(tokenizer, tokens, at_start=True))


def decode_stream(tokenizer: Pieces, tokens: Iterable[int], *, at_start: bool) -> Iterable[str]:
    """Decode tokens as they arrive, holding back a character until all its bytes are there.

    Args:
        at_start: whether the text begins here, so that its first space comes from the encoder.
    Yields:
        One str per token, "" while a character is incomplete, and a last one for the remainder.
    """
    decoder = StreamDecoder(tokenizer, at_start=at_start)
    for token in tokens:
        yield decoder.push(token)
    yield decoder.finish()


class StreamDecoder:
    """Turns tokens into text one at a time; holds the bytes of an unfinished character."""

    def __init__(self, tokenizer: Pieces, *, at_start: bool) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._drop_space = at_start and tokenizer.adds_space

    def push(self, token: int) -> str:
        """The text that becomes certain with this token; "" while a character is incomplete."""
        piece = self._tokenizer.piece(token)
        if self._drop_space and piece:
            piece = piece.removeprefix(b" ")
            self._drop_space = False
        return self._utf8.decode(piece)

    def finish(self) -> str:
        """U+FFFD for an unfinished character at the end; "" if there is none."""
        return self._utf8.decode(b"", final=True)
