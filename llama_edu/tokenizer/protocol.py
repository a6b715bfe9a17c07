"""What the rest of the program needs of a tokenizer, and what every tokenizer checks."""

from __future__ import annotations

from typing import Protocol

from llama_edu.errors import RequestError


class Tokenizer(Protocol):
    """What the rest of the program needs of a tokenizer.

    `adds_space`: whether encoding puts a space in front of a text. `adds_bos`: whether it puts BOS
    in front by default. `asks_for_eos`: whether the file asks for EOS after a text, which encoding
    leaves out, so that the text can be continued. `bos_id` and `eos_id` are -1 if there is no such
    token.
    """

    vocab_size: int
    bos_id: int
    eos_id: int
    adds_space: bool
    adds_bos: bool
    asks_for_eos: bool

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """The ids of a text, with BOS in front if both `bos` and `adds_bos` are true."""

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for BOS and EOS."""


def encodable(text: str) -> str:
    """The text itself; RequestError for a lone surrogate, which has no UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"text: character {error.start} is half a surrogate pair, expected Unicode text"
        ) from None
    return text


def check_token(token: int, vocab_size: int) -> None:
    """Raise RequestError unless the vocabulary has this id."""
    if not 0 <= token < vocab_size:
        raise RequestError(f"tokens: id {token}, expected 0 to {vocab_size - 1}")
