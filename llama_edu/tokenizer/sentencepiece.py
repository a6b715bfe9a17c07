"""The tokenizer of a tokenizer.model file, run by the sentencepiece library."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.files.vocabularies.sentencepiece import open_sentencepiece, sentencepiece_piece
from llama_edu.tokenizer.protocol import check_token, encodable
from llama_edu.vocabulary import SPACE_MARK, USER_DEFINED


class SentencePieceTokenizer:
    """A tokenizer.model file, read by the sentencepiece library.

    Tokens that JSON files beside it add are found in a text before it is cut; control tokens in a
    text are text. Rows of the embedding beyond all pieces decode to nothing.
    """

    def __init__(self, path: Path, n_rows: int | None = None) -> None:
        """Open the file.

        Args:
            n_rows: rows of the model's embedding; None where no model is at hand.
        Raises:
            FormatError: it is no tokenizer.model. RequestError: it has more pieces than rows.
        """
        self.path = path
        self._model = open_sentencepiece(path)
        self._processor = self._model.processor
        self._n_pieces = self._processor.vocab_size()
        self.vocab_size = self._n_pieces if n_rows is None else n_rows
        if self._n_pieces > self.vocab_size:
            raise RequestError(
                f"{path}: has {self._n_pieces} pieces, the model has {n_rows}; this is another "
                f"model's tokenizer"
            )
        self._around = self._model.surroundings
        added = {t: a for t, a in self._model.added.items() if t < self.vocab_size}
        self._texts = {t: a.text.encode() for t, a in added.items() if not a.is_control}
        self._added_ids = {a.text: t for t, a in added.items() if not a.is_control and a.text}
        if self._around.is_llama_class:
            for token in np.flatnonzero(self._model.kinds == USER_DEFINED).tolist():
                self._added_ids[self._processor.id_to_piece(token)] = token
        longest_first = sorted(self._added_ids, key=len, reverse=True)
        self._added_pattern = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")")
        self.bos_id, self.eos_id = self._model.bos_id, self._model.eos_id
        self.adds_space = self._around.adds_prefix
        self.adds_bos = self._model.add_bos and self.bos_id < self.vocab_size
        self.asks_for_eos = self._around.add_eos
        self._pieces: dict[int, bytes] = {}

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """The ids of a text, with BOS in front if both `bos` and `adds_bos` are true."""
        text = encodable(text)
        ids = [self.bos_id] if bos and self.adds_bos else []
        parts = self._added_pattern.split(text) if self._added_ids else [text]
        for i, part in enumerate(parts):
            if i % 2:
                ids.append(self._added_ids[part])
            elif part:
                at_start = i == 0 or self._around.prefixes_every_part
                ids += self._encode_part(part, at_start)
        return ids

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for BOS and EOS."""
        known = self._pieces.get(token)
        if known is None:
            check_token(token, self.vocab_size)
            if token < self._n_pieces:
                known = sentencepiece_piece(self._processor, token)
            else:
                known = self._texts.get(token, b"")
            self._pieces[token] = known
        return known

    def _encode_part(self, part: str, at_start: bool) -> list[int]:
        has_space = part.startswith((" ", SPACE_MARK))
        bare = not self.adds_space or not at_start or (has_space and not self._around.doubles_space)
        ids: list[int] = (self._bare if bare else self._prefixing).encode(part)
        return ids

    @cached_property
    def _prefixing(self) -> Any:
        return self._model.processor_with_prefix(True)

    @cached_property
    def _bare(self) -> Any:
        return self._model.processor_with_prefix(False)
