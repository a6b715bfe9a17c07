"""What the pieces of a model are: a Vocabulary, as the file that carries it describes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

#: How the pieces of a text are found: "spm" merges neighbors by the score of what they become, as
#: sentencepiece does; "bpe" merges bytes by the rank of their merge, as GPT-2 does.
VocabularyModel = Literal["spm", "bpe"]

#: Kinds of vocabulary pieces, numbered as in GGUF's token_type.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@dataclass(frozen=True)
class Vocabulary:
    """The pieces a weight file carries, for files that bring no tokenizer of their own.

    Attributes:
        pieces: bytes of each piece as text: spaces are spaces (not U+2581), a byte piece is its one
            byte. Indexable and sized; may build entries only when asked.
        scores: (n,) float32, higher merges first; all zero in `ggml` files, which have none.
        kinds: (n,) uint8, NORMAL ... BYTE.
        model: how the pieces of a text are found.
        unk_id, bos_id, eos_id: ids of the unknown, first and last piece; -1 where there is none.
        add_bos: whether a text begins with BOS. add_space_prefix: whether a space is put before it.
        merges: of "bpe": two pieces with a space between, the first merges first.
        pre_tokenizer: of "bpe": GGUF's name for the way in which a text is cut into words.
        charsmap: sentencepiece's table of letters that are replaced before a text is cut; empty
            for none. removes_spaces: whether surplus spaces are taken away as well.
        unsaid: settings of its own file that change the ids of a text and that no weight file can
            state, a sentence each; a conversion that drops them must name them.
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
    charsmap: bytes = b""
    removes_spaces: bool = False
    unsaid: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pieces)


#: U+2581, which sentencepiece writes for a space inside a piece.
SPACE_MARK = "\u2581"


#: What sentencepiece decodes its unknown piece to.
UNKNOWN_TEXT = " \u2047 ".encode()
