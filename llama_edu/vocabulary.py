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
        names: id -> what the file calls a piece, where that does not follow from `pieces`, which
            has what it adds to a text.
        charsmap: sentencepiece's table of letters that are replaced before a text is cut; empty
            for none. removes_spaces: whether surplus spaces are taken away as well.
        unsaid: settings of its own file that change the ids of a text and that no weight file can
            state, a sentence each; a conversion that drops them must name them.
        add_eos: whether the file asks for EOS after a text. Encoding never adds it: a text that is
            to be continued would end before it began.
        doubles_space: whether `add_space_prefix` applies to a text that begins with a space, too.
        prefixes_every_part: whether text after a special piece gets such a space as well.
        cuts_at_user_defined: whether a user-defined piece is special in this sense (llama.cpp,
            transformers), or lies within the text around it (sentencepiece).
        finds_longest_first: of special pieces that overlap in a text, whether the longest wins
            (llama.cpp) and not the one that begins first.
        other_end_ids: tokens that end a text as EOS does: the end of a turn or of a message.
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
    charsmap: bytes = b""
    removes_spaces: bool = False
    unsaid: tuple[str, ...] = ()
    add_eos: bool = False
    doubles_space: bool = True
    prefixes_every_part: bool = True
    cuts_at_user_defined: bool = False
    finds_longest_first: bool = False
    other_end_ids: tuple[int, ...] = ()

    @property
    def end_ids(self) -> tuple[int, ...]:
        """Every id that ends a text, EOS first."""
        ids = dict.fromkeys((self.eos_id, *self.other_end_ids))
        return tuple(token for token in ids if token >= 0)

    def __len__(self) -> int:
        return len(self.pieces)


#: U+2581, which sentencepiece writes in place of a space.
SPACE_MARK = "\u2581"


#: The text that sentencepiece decodes the unknown piece to.
UNKNOWN_TEXT = " \u2047 ".encode()
