"""Text to token ids and back with nothing but a vocabulary's pieces and scores.

sentencepiece.py gives the same ids for LLaMA's own settings. A space in front of a word belongs to
its piece, and a space is put in front of every text unless the vocabulary says otherwise. A
character that no piece covers becomes one byte piece per UTF-8 byte; in a vocabulary without byte
pieces a run of such characters becomes one unknown piece. User-defined pieces are found first and
never merged.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from llama_edu.tokenizer.from_vocabulary import VocabularyTokenizer
from llama_edu.tokenizer.normalization import Normalizer
from llama_edu.tokenizer.special import Before, SpecialPieces, with_what_precedes
from llama_edu.vocabulary import (
    BYTE,
    CONTROL,
    SPACE_MARK,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
)


class ScoreMergeTokenizer(VocabularyTokenizer):
    """Encodes with nothing but pieces and scores, as llama.cpp does for the files of 2023.

    The text is cut into characters. The neighboring pair that joins into the piece with the highest
    score is merged, the leftmost on equal scores, until no pair is a piece. Any remaining character
    that is not a piece becomes bytes. Equal to sentencepiece's BPE.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(vocabulary)
        self._cuts_at_user_defined = vocabulary.cuts_at_user_defined
        self._unk_id = vocabulary.unk_id
        self._scores = vocabulary.scores
        self._ids: dict[str, int] = {}
        self._bytes: dict[int, int] = {}
        self._within = SpecialPieces({})  # user-defined pieces, where they end no text
        self._index_built = False
        self._normalized = (
            Normalizer(vocabulary.charsmap, vocabulary.removes_spaces)
            if vocabulary.charsmap or vocabulary.removes_spaces
            else None
        )

    def encode(self, text: str, *, bos: bool = True, special: bool = False) -> list[int]:
        """The ids of a text, with BOS in front if both `bos` and `adds_bos` are true.

        Args:
            special: whether the names of control pieces in the text become these pieces; otherwise
                they are text. User-defined pieces are always found.
        """
        return self.encode_parts(self.special_parts(text) if special else [text], bos=bos)

    def encode_parts(self, parts: Iterable[str | int], *, bos: bool = True) -> list[int]:
        """The ids of texts, in which only user-defined pieces are found, and of ids between them.

        Two texts side by side are encoded apart from each other, and no space is put between them.
        """
        ids = [self.bos_id] if bos and self.adds_bos else []
        for part, before in with_what_precedes(parts, self._search(False)):
            ids += [part] if isinstance(part, int) else self._encode_part(part, before)
        return ids

    def _encode_part(self, part: str, before: Before) -> list[int]:
        """The ids of a text without special pieces, or of one between two of them."""
        self._build_index()  # takes longer than opening a file, so not for an empty text
        part = part.replace(SPACE_MARK, " ")
        if self._normalized is not None:
            part = self._normalized(part)
        if not part:
            return []
        every = self._vocabulary.prefixes_every_part
        may_prefix = before == "nothing" or (before == "special" and every)
        is_prefixed = self.adds_space and may_prefix
        if is_prefixed and (self._vocabulary.doubles_space or not part.startswith(" ")):
            part = " " + part
        ids: list[int] = []
        was_unknown = False
        for symbol in self._symbols(part):
            token = symbol if isinstance(symbol, int) else self._ids.get(symbol)
            if token is not None:
                ids.append(token)
            elif self._bytes:
                ids += [self._bytes.get(b, self._unk_id) for b in str(symbol).encode()]
            elif not was_unknown:
                ids.append(self._unk_id)
            was_unknown = token is None
        return ids

    def _symbols(self, text: str) -> list[str | int]:
        """The text in pieces, and in characters where none of them fits."""
        found: list[str | int] = []
        for part in self._within.cut(text):
            found += [part] if isinstance(part, int) else self._merge(list(part))
        return found

    def _build_index(self) -> None:
        """Text -> id of the pieces that text may become; the last id wins among equal pieces."""
        if self._index_built:
            return
        kinds = self._kinds.tolist()
        for token, (piece, kind) in enumerate(zip(self._pieces, kinds, strict=True)):
            if kind == BYTE:
                self._bytes[piece[0]] = token
            elif kind not in (UNKNOWN, CONTROL, UNUSED):
                text = piece.decode("utf-8", "surrogateescape")
                self._ids[text] = token
        if not self._vocabulary.cuts_at_user_defined:
            within = {
                self._pieces[t].decode("utf-8", "replace"): t for t in self._ids_of(USER_DEFINED)
            }
            self._within = SpecialPieces(within)
        self._index_built = True

    def _merge(self, symbols: list[str]) -> list[str]:
        """Join neighbors, best score first, until no joined pair is a piece."""
        following = [*range(1, len(symbols)), -1]  # index of the symbol to the right, or -1
        previous = list(range(-1, len(symbols) - 1))
        queue: list[tuple[float, int, str, int]] = []

        def propose(left: int, right: int) -> None:
            joined = symbols[left] + symbols[right]
            token = self._ids.get(joined)
            if token is not None:
                heapq.heappush(queue, (-float(self._scores[token]), left, joined, right))

        for left in range(len(symbols) - 1):
            propose(left, left + 1)
        while queue:
            _, left, joined, right = heapq.heappop(queue)
            stale = following[left] != right or symbols[left] + symbols[right] != joined
            if stale:  # one of the two has since been merged with another neighbor
                continue
            symbols[left], symbols[right] = joined, ""
            following[left] = following[right]
            following[right] = -2
            if following[left] >= 0:
                previous[following[left]] = left
                propose(left, following[left])
            if previous[left] >= 0:
                propose(previous[left], left)
        return [symbol for symbol in symbols if symbol]
