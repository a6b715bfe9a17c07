"""What the rest of the program needs of a tokenizer, and what every tokenizer checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from llama_edu.errors import RequestError


class Tokenizer(Protocol):
    """What the rest of the program needs of a tokenizer.

    `vocab_size`: how many ids there are, as `len()` says, too. `bos_id` and `eos_id` are -1 if
    there is no such token; `end_ids` are all that end a text, EOS first. `special_ids` are those
    of control and user-defined pieces. `adds_space`: whether encoding puts a space in front of a
    text. `adds_bos`: whether it puts BOS in front by default. `asks_for_eos`: whether the file asks
    for EOS after a text, which encoding leaves out, so that the text can be continued.
    """

    vocab_size: int
    bos_id: int
    eos_id: int
    end_ids: tuple[int, ...]
    adds_space: bool
    adds_bos: bool
    asks_for_eos: bool

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids of control and user-defined pieces."""

    def encode(self, text: str, *, bos: bool = True, special: bool = False) -> list[int]:
        """The ids of a text, with BOS in front if both `bos` and `adds_bos` are true.

        Args:
            special: whether the names of control pieces in the text become these pieces; otherwise
                they are text. User-defined pieces are always found.
        """

    @property
    def special_names(self) -> Mapping[str, int]:
        """Text -> id of every piece that `encode` finds with special=True."""

    def special_parts(self, text: str) -> list[str | int]:
        """A text as ids of special pieces and the texts between them, none of them empty."""

    def encode_parts(self, parts: Iterable[str | int], *, bos: bool = True) -> list[int]:
        """The ids of texts, in which only user-defined pieces are found, and of ids between them.

        `encode_parts(special_parts(text))` is `encode(text, special=True)`. Two texts side by side
        are encoded apart from each other, and no space is put between them.
        """

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of token ids, without the space that encoding puts in front."""

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for control pieces such as BOS and EOS."""

    def name(self, token: int) -> str:
        """What the vocabulary calls a token, in its own spelling; not made safe for a terminal."""

    def __len__(self) -> int:
        """How many ids there are."""


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
