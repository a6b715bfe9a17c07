"""Text to token ids and back with nothing but a vocabulary's pieces and scores.

sentencepiece.py gives the same ids for the same vocabulary. A space in front of a word belongs to
its piece, and most vocabularies put one space in front of every text. A character that no piece
covers becomes one byte piece per UTF-8 byte.
"""

from __future__ import annotations

import heapq

from llama_edu.tokenizer.protocol import check_token, encodable
from llama_edu.vocabulary import BYTE, CONTROL, SPACE_MARK, UNKNOWN, UNUSED, Vocabulary


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
        self.adds_space = vocabulary.add_space_prefix
        self._prefix = " " if self.adds_space else ""
        self._pieces = vocabulary.pieces
        self._kinds = vocabulary.kinds
        self._scores = vocabulary.scores
        self._ids: dict[str, int] = {}
        self._bytes: dict[int, int] = {}
        self._index_built = False

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """The ids of a text, with BOS in front if both `bos` and `adds_bos` are true."""
        text = encodable(text).replace(SPACE_MARK, " ")
        ids = [self.bos_id] if bos and self.adds_bos else []
        if not text:  # needs no index, which takes longer to build than the file took to open
            return ids
        self._build_index()
        symbols = self._merge(list(self._prefix + text))
        for symbol in symbols:
            token = self._ids.get(symbol)
            if token is not None:
                ids.append(token)
            else:
                ids += [self._bytes.get(b, self._unk_id) for b in symbol.encode()]
        return ids

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for BOS and EOS."""
        check_token(token, self.vocab_size)
        return b"" if self._kinds[token] == CONTROL else self._pieces[token]

    def _build_index(self) -> None:
        """Text -> id of the pieces that text may become; the last id wins among equal pieces."""
        if self._index_built:
            return
        kinds = self._kinds.tolist()
        for token, (piece, kind) in enumerate(zip(self._pieces, kinds, strict=True)):
            if kind == BYTE:
                self._bytes[piece[0]] = token
            elif kind not in (UNKNOWN, CONTROL, UNUSED):
                self._ids[piece.decode("utf-8", "surrogateescape")] = token
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
