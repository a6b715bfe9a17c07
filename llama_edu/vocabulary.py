"""Vocabulary: the pieces of a model, as the file that stores them describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

#: How a text is split into pieces: "spm" merges neighbors by the score of the resulting piece, as
#: sentencepiece does; "bpe" merges bytes by the rank of their merge, as GPT-2 does.
VocabularyModel = Literal["spm", "bpe"]

#: Kinds of vocabulary pieces, numbered as in GGUF's token_type.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@dataclass(frozen=True)
class Vocabulary:
    """The pieces of one model, with all that a tokenizer needs to know about them.

    Attributes:
        pieces: bytes of each piece as text: spaces are spaces (not U+2581), and a byte piece is its
            one byte. Indexable and sized; entries may be built only on access.
        scores: (n,) float32, the highest merges first; all zero in `ggml` files, which store none.
        kinds: (n,) uint8, NORMAL ... BYTE.
        model: how a text is split into pieces.
        unk_id, bos_id, eos_id: ids of the unknown, begin and end tokens; -1 for a missing one.
        add_bos: whether a text begins with BOS. add_space_prefix: whether a space is put before it.
        merges: of "bpe": two pieces with a space between, the first merges first.
        pre_tokenizer: of "bpe": GGUF's name for the way in which a text is cut into words.
        names: id -> what the file calls a control or unknown piece, where known; `pieces` has what
            it adds to a text.
    """

    pieces: Sequence[bytes]
    scores: np.ndarray
    kinds: np.ndarray
    model: VocabularyModel = "spm"
    unk_id: int = 0
    bos_id: int = 1
    eos_id: int = 2
    add_bos: bool = True
    add_space_prefix: bool = True
    merges: Sequence[str] = ()
    pre_tokenizer: str = ""
    names: Mapping[int, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pieces)


#: U+2581, which sentencepiece writes in place of a space.
SPACE_MARK = "\u2581"


#: The text that sentencepiece decodes the unknown piece to.
UNKNOWN_TEXT = " \u2047 ".encode()
