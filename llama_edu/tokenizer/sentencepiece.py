"""The tokenizer of a tokenizer.model file, run by the sentencepiece library."""

from __future__ import annotations

from pathlib import Path

from llama_edu.files.vocabularies.sentencepiece import open_sentencepiece, sentencepiece_piece
from llama_edu.tokenizer.protocol import check_token, encodable


class SentencePieceTokenizer:
    """A tokenizer.model file, read by the sentencepiece library."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._processor = open_sentencepiece(path)
        self.vocab_size = self._processor.vocab_size()
        self.bos_id = self._processor.bos_id()
        self.eos_id = self._processor.eos_id()
        self.adds_space = True
        self.adds_bos = self.bos_id >= 0
        self._pieces: dict[int, bytes] = {}

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """The ids of a text, with BOS in front if both `bos` and `adds_bos` are true."""
        ids = self._processor.encode(encodable(text))
        return [self.bos_id, *ids] if bos and self.adds_bos else ids

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for BOS and EOS."""
        known = self._pieces.get(token)
        if known is None:
            check_token(token, self.vocab_size)
            known = self._pieces[token] = sentencepiece_piece(self._processor, token)
        return known
