"""Text to token ids and back: sentencepiece for .model files, our own merge for bare vocabularies.

Both give the same ids. A space in front of a word belongs to the piece; one space is put in front
of every text. A character that no piece covers becomes one byte piece per UTF-8 byte.
"""

from __future__ import annotations

import codecs
import heapq
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from llama_edu.errors import RequestError
from llama_edu.files.layout import BYTE, CONTROL, UNKNOWN, UNUSED, Vocabulary
from llama_edu.files.vocabularies import SPACE_MARK, open_sentencepiece, sentencepiece_piece


class Tokenizer(Protocol):
    """What the rest of the program needs of a tokenizer.

    `adds_space` says whether encoding puts a space in front of a text.
    """

    vocab_size: int
    bos_id: int
    eos_id: int
    adds_space: bool

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """The ids of a text, with BOS in front unless told otherwise."""

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for BOS and EOS."""


def tokenizer_of(vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer that a file's own pieces call for: merges by score, or byte-level BPE."""
    if vocabulary.model == "bpe":
        from llama_edu.transformer.bpe import BpeTokenizer  # needs an optional library

        return BpeTokenizer(vocabulary)
    return ScoreMergeTokenizer(vocabulary)


def decode(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """The text of token ids; the space that encoding put in front is taken away again.

    Bytes that are not UTF-8 become U+FFFD.
    """
    return "".join(decode_stream(tokenizer, tokens, at_start=True))


def decode_stream(tokenizer: Tokenizer, tokens: Iterable[int], *, at_start: bool) -> Iterable[str]:
    """Decode token by token as tokens come; a character whose bytes are incomplete waits.

    Args:
        at_start: whether the text begins here, so that its first space is only the encoder's.
    Yields:
        One str per token, "" while a character is incomplete, and a last one for what remains.
    """
    decoder = StreamDecoder(tokenizer, at_start=at_start)
    for token in tokens:
        yield decoder.push(token)
    yield decoder.finish()


class StreamDecoder:
    """Turns tokens into text one at a time; holds the bytes of an unfinished character."""

    def __init__(self, tokenizer: Tokenizer, *, at_start: bool) -> None:
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
        """What an unfinished character at the end becomes: U+FFFD, or "" when there is none."""
        return self._utf8.decode(b"", final=True)


class SentencePieceTokenizer:
    """A tokenizer.model file, read by the sentencepiece library."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._processor = open_sentencepiece(path)
        self.vocab_size = self._processor.vocab_size()
        self.bos_id = self._processor.bos_id()
        self.eos_id = self._processor.eos_id()
        self.adds_space = True
        self._pieces: dict[int, bytes] = {}

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """The ids of a text, with BOS in front unless told otherwise."""
        ids = self._processor.encode(_encodable(text))
        return [self.bos_id, *ids] if bos else ids

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for BOS and EOS."""
        known = self._pieces.get(token)
        if known is None:
            _check_token(token, self.vocab_size)
            known = self._pieces[token] = sentencepiece_piece(self._processor, token)
        return known


class ScoreMergeTokenizer:
    """Encodes with nothing but pieces and scores, as llama.cpp does for the files of 2023.

    The text is cut into characters; the neighbouring pair whose joint text is the piece with the
    highest score is merged, the leftmost on equal scores, until no pair is a piece. What is left
    that is no piece becomes bytes. Equal to sentencepiece's BPE.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocab_size = len(vocabulary)
        self.bos_id, self.eos_id = vocabulary.bos_id, vocabulary.eos_id
        self._unk_id = vocabulary.unk_id
        self._add_bos = vocabulary.add_bos
        self.adds_space = vocabulary.add_space_prefix
        self._prefix = " " if self.adds_space else ""
        self._pieces = vocabulary.pieces
        self._kinds = vocabulary.kinds
        self._scores = vocabulary.scores
        self._ids: dict[str, int] = {}
        self._bytes: dict[int, int] = {}
        self._index_built = False

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """The ids of a text, with BOS in front unless told otherwise."""
        text = _encodable(text).replace(SPACE_MARK, " ")
        ids = [self.bos_id] if bos and self._add_bos else []
        if not text:  # needs no index, which takes longer to build than opening the file did
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
        _check_token(token, self.vocab_size)
        return b"" if self._kinds[token] == CONTROL else self._pieces[token]

    def _build_index(self) -> None:
        """Text -> id for what text may become; the last id wins where two pieces are equal."""
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
        """Join neighbours, best score first, until none joined is a piece."""
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
            if stale:  # one of the two was merged with another neighbour meanwhile
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


def _encodable(text: str) -> str:
    """The text itself; RequestError where a lone surrogate has no UTF-8 form."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"text: character {error.start} is half a surrogate pair, expected Unicode text"
        ) from None
    return text


def _check_token(token: int, vocab_size: int) -> None:
    if not 0 <= token < vocab_size:
        raise RequestError(f"tokens: id {token}, expected 0 to {vocab_size - 1}")
