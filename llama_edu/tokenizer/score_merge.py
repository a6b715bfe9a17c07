"""Text to token ids and back with nothing but a vocabulary's pieces and scores.

sentencepiece.py gives the same ids for LLaMA's own settings. A space in front of a word belongs to
its piece, and a space is put in front of every text unless the vocabulary says otherwise. A
character that no piece covers becomes one byte piece per UTF-8 byte; in a vocabulary without byte
pieces a run of such characters becomes one unknown piece. User-defined pieces are found first and
never merged.
"""

from __future__ import annotations

import heapq
import re

from llama_edu.tokenizer.normalization import Normalizer
from llama_edu.tokenizer.protocol import check_token, encodable
from llama_edu.vocabulary import (
    BYTE,
    CONTROL,
    SPACE_MARK,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    Vocabulary,
)


class ScoreMergeTokenizer:
    """Encodes with nothing but pieces and scores, as llama.cpp does for the files of 2023.

    The text is cut into characters. The neighboring pair that joins into the piece with the highest
    score is merged, the leftmost on equal scores, until no pair is a piece. Any remaining character
    that is not a piece becomes bytes. Equal to sentencepiece's BPE.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocab_size = len(vocabulary)
        self.bos_id, self.eos_id = vocabulary.bos_id, vocabulary.eos_id
        self._unk_id = vocabulary.unk_id
        self.adds_bos = vocabulary.add_bos and self.bos_id >= 0
        self.asks_for_eos = vocabulary.add_eos
        self.adds_space = vocabulary.add_space_prefix
        self._doubles_space = vocabulary.doubles_space
        self._prefixes_every_part = vocabulary.prefixes_every_part
        self._cuts = vocabulary.cuts_at_user_defined
        self._pieces = vocabulary.pieces
        self._kinds = vocabulary.kinds
        self._scores = vocabulary.scores
        self._ids: dict[str, int] = {}
        self._bytes: dict[int, int] = {}
        self._whole: re.Pattern[str] | None = None  # finds the user-defined pieces
        self._index_built = False
        self._normalized = (
            Normalizer(vocabulary.charsmap, vocabulary.removes_spaces)
            if vocabulary.charsmap or vocabulary.removes_spaces
            else None
        )

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """The ids of a text, with BOS in front if both `bos` and `adds_bos` are true."""
        ids = [self.bos_id] if bos and self.adds_bos else []
        if not encodable(text):  # needs no index, which takes longer to build than opening a file
            return ids
        self._build_index()
        cut = self._whole.split(text) if self._whole and self._cuts else [text]
        for i, part in enumerate(cut):
            if i % 2:
                ids.append(self._ids[part])
            elif part:
                ids += self._encode_part(part, at_start=i == 0)
        return ids

    def _encode_part(self, part: str, at_start: bool) -> list[int]:
        """The ids of a text without special pieces, or of one between two of them."""
        part = part.replace(SPACE_MARK, " ")
        if self._normalized is not None:
            part = self._normalized(part)
        if not part:
            return []
        is_prefixed = self.adds_space and (at_start or self._prefixes_every_part)
        if is_prefixed and (self._doubles_space or not part.startswith(" ")):
            part = " " + part
        ids: list[int] = []
        was_unknown = False
        for symbol in self._symbols(part):
            token = self._ids.get(symbol)
            if token is not None:
                ids.append(token)
            elif self._bytes:
                ids += [self._bytes.get(b, self._unk_id) for b in symbol.encode()]
            elif not was_unknown:
                ids.append(self._unk_id)
            was_unknown = token is None
        return ids

    def _symbols(self, text: str) -> list[str]:
        """The text in pieces, and in characters where none of them fits."""
        if self._whole is None or self._cuts:
            return self._merge(list(text))
        found: list[str] = []
        for i, part in enumerate(self._whole.split(text)):
            found += [part] if i % 2 else self._merge(list(part))
        return found

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for control tokens and unused ids."""
        check_token(token, self.vocab_size)
        return b"" if self._kinds[token] in (CONTROL, UNUSED) else self._pieces[token]

    def _build_index(self) -> None:
        """Text -> id of the pieces that text may become; the last id wins among equal pieces."""
        if self._index_built:
            return
        kinds = self._kinds.tolist()
        whole = []
        for token, (piece, kind) in enumerate(zip(self._pieces, kinds, strict=True)):
            if kind == BYTE:
                self._bytes[piece[0]] = token
            elif kind not in (UNKNOWN, CONTROL, UNUSED):
                text = piece.decode("utf-8", "surrogateescape")
                self._ids[text] = token
                if kind == USER_DEFINED and text:
                    whole.append(text)
        if whole:
            longest_first = sorted(whole, key=len, reverse=True)
            self._whole = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
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
