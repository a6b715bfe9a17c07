"""The tokenizer of a tokenizer.model file, run by the sentencepiece library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.files.vocabularies.ends import ends_of
from llama_edu.files.vocabularies.sentencepiece import open_sentencepiece, sentencepiece_piece
from llama_edu.tokenizer.protocol import check_token, encodable
from llama_edu.tokenizer.special import SpecialPieces, with_what_precedes
from llama_edu.tokenizer.streaming import decode
from llama_edu.unsendable import Unsendable
from llama_edu.vocabulary import CONTROL, SPACE_MARK, UNKNOWN, USER_DEFINED


class SentencePieceTokenizer(Unsendable):
    """A tokenizer.model file, read by the sentencepiece library.

    Tokens that JSON files beside it add are found in a text before it is cut. Rows of the embedding
    beyond all pieces decode to nothing.
    """

    def __init__(
        self, path: Path, n_rows: int | None = None, end_ids: Sequence[int] | None = None
    ) -> None:
        """Open the file.

        Args:
            n_rows: rows of the model's embedding; None where no model is at hand.
            end_ids: all ids that end a text, where the model says so; None for EOS alone.
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
        self._added = {t: a for t, a in self._model.added.items() if t < self.vocab_size}
        self.bos_id = self._model.bos_id
        own = (self._model.eos_id,) if self._model.eos_id >= 0 else ()
        self.eos_id, self.end_ids = ends_of(own, end_ids, self.vocab_size)
        self.adds_space = self._around.adds_prefix
        self.adds_bos = self._model.add_bos and self.bos_id < self.vocab_size
        self.asks_for_eos = self._around.add_eos
        self._pieces: dict[int, bytes] = {}

    def __len__(self) -> int:
        """How many ids there are."""
        return self.vocab_size

    def encode(self, text: str, *, bos: bool = True, special: bool = False) -> list[int]:
        """The ids of a text, with BOS in front if both `bos` and `adds_bos` are true.

        Args:
            special: whether the names of control pieces in the text become these pieces; otherwise
                they are text. User-defined pieces are always found.
        """
        return self.encode_parts(self.special_parts(text) if special else [text], bos=bos)

    @property
    def special_names(self) -> Mapping[str, int]:
        """Text -> id of every piece that `encode` finds with special=True."""
        return self._all_special.ids

    def special_parts(self, text: str) -> list[str | int]:
        """A text as ids of special pieces and the texts between them, none of them empty."""
        return self._all_special.cut(encodable(text))

    def encode_parts(self, parts: Iterable[str | int], *, bos: bool = True) -> list[int]:
        """The ids of texts, in which only user-defined pieces are found, and of ids between them.

        Two texts side by side are encoded apart from each other, and no space is put between them.
        """
        ids = [self.bos_id] if bos and self.adds_bos else []
        every = self._around.prefixes_every_part
        for part, before in with_what_precedes(parts, self._user_defined):
            if isinstance(part, int):
                ids.append(part)
            else:
                may_prefix = before == "nothing" or (before == "special" and every)
                ids += self._encode_part(part, may_prefix)
        return ids

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of token ids, without the space that encoding puts in front."""
        return decode(self, tokens)

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for control pieces such as BOS and EOS."""
        known = self._pieces.get(token)
        if known is None:
            check_token(token, self.vocab_size)
            added = self._added.get(token)
            if token < self._n_pieces:
                known = sentencepiece_piece(self._processor, token)
            else:
                known = b"" if added is None or added.is_control else added.text.encode()
            self._pieces[token] = known
        return known

    def name(self, token: int) -> str:
        """What the vocabulary calls a token, in its own spelling; not made safe for a terminal."""
        check_token(token, self.vocab_size)
        if token < self._n_pieces:
            return str(self._processor.id_to_piece(token))
        return self._added[token].text if token in self._added else f"[PAD{token}]"

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """The ids of control and user-defined pieces."""
        return frozenset((*self._ids_of(CONTROL, USER_DEFINED), *self._added))

    def _ids_of(self, *kinds: int) -> list[int]:
        ids: list[int] = np.flatnonzero(np.isin(self._model.kinds, kinds)).tolist()
        return ids

    @cached_property
    def _user_defined(self) -> SpecialPieces:
        """Those found in every text; the library finds its own where they do not end the text."""
        ids = {a.text: token for token, a in self._added.items() if not a.is_control}
        if self._around.is_llama_class:
            ids |= {self.name(token): token for token in self._ids_of(USER_DEFINED)}
        return SpecialPieces(ids)

    @cached_property
    def _all_special(self) -> SpecialPieces:
        kinds = (UNKNOWN, CONTROL, *([USER_DEFINED] if self._around.is_llama_class else ()))
        ids = {self.name(token): token for token in (*self._ids_of(*kinds), *self._added)}
        return SpecialPieces(ids)

    def _encode_part(self, part: str, may_prefix: bool) -> list[int]:
        has_space = part.startswith((" ", SPACE_MARK))
        doubles = self._around.doubles_space
        bare = not self.adds_space or not may_prefix or (has_space and not doubles)
        ids: list[int] = (self._bare if bare else self._prefixing).encode(part)
        return ids

    @cached_property
    def _prefixing(self) -> Any:
        return self._model.processor_with_prefix(True)

    @cached_property
    def _bare(self) -> Any:
        return self._model.processor_with_prefix(False)
