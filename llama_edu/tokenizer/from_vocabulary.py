"""What tokenizers that are made from a Vocabulary have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np

from llama_edu.files.vocabularies.end_pieces import END_NAMES
from llama_edu.files.vocabularies.spelling import spelled
from llama_edu.tokenizer.protocol import check_token, encodable
from llama_edu.tokenizer.special import SpecialPieces
from llama_edu.tokenizer.streaming import decode
from llama_edu.unsendable import Unsendable
from llama_edu.vocabulary import CONTROL, UNKNOWN, UNUSED, USER_DEFINED, Vocabulary


class VocabularyTokenizer(Unsendable):
    """Ids to text and to names, and the special pieces in a text. Encoding is left to others."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocab_size = len(vocabulary)
        self.bos_id, self.eos_id = vocabulary.bos_id, vocabulary.eos_id
        self.end_ids = vocabulary.end_ids
        self.adds_space = vocabulary.add_space_prefix
        self.adds_bos = vocabulary.add_bos and self.bos_id >= 0
        self.asks_for_eos = vocabulary.add_eos
        self._vocabulary = vocabulary
        self._kinds = vocabulary.kinds
        self._pieces = vocabulary.pieces
        self._searches: dict[bool, SpecialPieces] = {}
        self._cuts_at_user_defined = True

    def __len__(self) -> int:
        """How many ids there are."""
        return self.vocab_size

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for control tokens and unused ids."""
        check_token(token, self.vocab_size)
        is_empty = self._kinds[token] in (CONTROL, UNUSED)
        return b"" if is_empty else self._pieces[token]

    def name(self, token: int) -> str:
        """What the vocabulary calls a token, in its own spelling; not made safe for a terminal."""
        check_token(token, self.vocab_size)
        return spelled(self._vocabulary, token).decode("utf-8", "replace")

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of token ids, without the space that encoding puts in front."""
        return decode(self, tokens)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of all control and user-defined pieces."""
        return frozenset((*self._ids_of(CONTROL), *self._ids_of(USER_DEFINED)))

    def _ids_of(self, kind: int) -> list[int]:
        ids: list[int] = np.flatnonzero(self._kinds == kind).tolist()
        return ids

    @property
    def special_names(self) -> Mapping[str, int]:
        """Text -> id of every piece that `encode` finds with special=True."""
        return self._search(True).ids

    def special_parts(self, text: str) -> list[str | int]:
        """A text as ids of special pieces and the texts between them, none of them empty."""
        return self._search(True).cut(encodable(text))

    def _search(self, special: bool) -> SpecialPieces:
        """Finds the pieces that end the text before them; control pieces only if `special`."""
        if special not in self._searches:
            user_defined = [USER_DEFINED] * self._cuts_at_user_defined
            kinds = [*user_defined, *([UNKNOWN, CONTROL] if special else [])]
            ids = {self.name(t): t for kind in kinds for t in self._ids_of(kind)}
            if not special:
                ids = {name: t for name, t in ids.items() if not self._is_end_by_name(name)}
            longest_first = self._vocabulary.finds_longest_first
            self._searches[special] = SpecialPieces(ids, longest_first=longest_first)
        return self._searches[special]

    def _is_end_by_name(self, name: str) -> bool:
        """Whether llama.cpp takes a user-defined piece for a control piece."""
        return self._vocabulary.finds_longest_first and name.encode() in END_NAMES
