"""Byte-level BPE, the tokenizer of Llama 3, run by the `tokenizers` library (the extra `bpe`).

A text is first cut by a pattern, the pre-tokenizer, into words, numbers and runs of spaces; within
each cut, pairs of byte pieces are merged in the order of the merge list. A GGUF file names its
pattern but does not store it, so an unknown name is an error: a wrong cut would silently give wrong
ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llama_edu.errors import FormatError, RequestError
from llama_edu.files.vocabularies.byte_level import PRE_TOKENIZERS, WHOLE_PIECES_FIRST, to_text
from llama_edu.text import quoted
from llama_edu.tokenizer.from_vocabulary import VocabularyTokenizer
from llama_edu.tokenizer.special import with_what_precedes
from llama_edu.vocabulary import CONTROL, UNKNOWN, UNUSED, USER_DEFINED, Vocabulary


class BpeTokenizer(VocabularyTokenizer):
    """Encodes with the byte-level pieces and merges of a vocabulary.

    Raises:
        FormatError: the vocabulary is of another kind, or its pre-tokenizer is unknown.
        RequestError: the `tokenizers` library is not installed.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        if vocabulary.model != "bpe":
            raise FormatError(
                f"vocabulary: merges by {vocabulary.model}, expected byte-level bpe; use "
                f"ScoreMergeTokenizer"
            )
        name = vocabulary.pre_tokenizer
        if name not in PRE_TOKENIZERS:
            raise FormatError(
                f"vocabulary: pre-tokenizer {quoted(name, 40)}, expected one of "
                f"{', '.join(PRE_TOKENIZERS)}; text would be cut wrongly, so it is not encoded"
            )
        super().__init__(vocabulary)
        self._tokenizer = _build(vocabulary)

    def encode(self, text: str, *, bos: bool = True, special: bool = False) -> list[int]:
        """The ids of a text, with BOS in front if the vocabulary asks for it and `bos` is true.

        Args:
            special: whether the names of control pieces in the text become these pieces; otherwise
                "<|eot_id|>" is text. User-defined pieces are always found.
        Raises RequestError for half a surrogate pair, which has no UTF-8 form.
        """
        return self.encode_parts(self.special_parts(text) if special else [text], bos=bos)

    def encode_parts(self, parts: Iterable[str | int], *, bos: bool = True) -> list[int]:
        """The ids of texts, in which only user-defined pieces are found, and of ids between them.

        Two texts side by side are encoded apart from each other.
        """
        ids = [self.bos_id] if bos and self.adds_bos else []
        for part, _ in with_what_precedes(parts, self._search(False)):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self._tokenizer.encode(part, add_special_tokens=False).ids
        return ids


def _build(vocabulary: Vocabulary) -> Any:
    """A tokenizers.Tokenizer that cuts and merges as the vocabulary specifies."""
    try:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    except ImportError:
        raise RequestError(
            "byte-level vocabularies need the tokenizers library; install it with: "
            "pip install tokenizers"
        ) from None
    name = vocabulary.pre_tokenizer
    ids: dict[str, int] = {}
    whole = set()  # found before a text is cut, or not at all
    for token, (piece, kind) in enumerate(
        zip(vocabulary.pieces, vocabulary.kinds.tolist(), strict=True)
    ):
        if kind in (CONTROL, USER_DEFINED, UNKNOWN):
            whole.add(piece.decode("utf-8", "replace"))
        elif kind != UNUSED:
            ids[to_text(piece)] = token
    merges = []
    for i, merge in enumerate(vocabulary.merges):
        left, space, right = merge.partition(" ")
        parts = (left, right, left + right)
        if space and all(part in ids for part in parts):
            merges.append((left, right))
        elif not space or not all(part in ids or part in whole for part in parts):
            raise FormatError(
                f"vocabulary: merge {i} is {quoted(merge, 40)}, expected two pieces with a space "
                f"between and their joint piece in the vocabulary; the file is damaged"
            )
    model = models.BPE(ids, merges, ignore_merges=name in WHOLE_PIECES_FIRST)
    tokenizer = Tokenizer(model)
    cuts = [
        pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        for pattern in PRE_TOKENIZERS[name]
    ]
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, to_bytes])
    return tokenizer
