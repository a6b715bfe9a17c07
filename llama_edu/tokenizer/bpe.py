"""Byte-level BPE, the tokenizer of Llama 3, run by the `tokenizers` library (the extra `bpe`).

A text is first cut by a pattern, the pre-tokenizer, into words, numbers and runs of spaces; within
each cut, pairs of byte pieces are merged in the order of the merge list. A GGUF file names its
pattern but does not store it, so an unknown name is an error: a wrong cut would silently give wrong
ids.
"""

from __future__ import annotations

from typing import Any

from llama_edu.errors import FormatError, RequestError
from llama_edu.files.vocabularies.byte_level import PRE_TOKENIZERS, WHOLE_PIECES_FIRST, to_text
from llama_edu.tokenizer.protocol import check_token, encodable
from llama_edu.vocabulary import CONTROL, UNKNOWN, UNUSED, USER_DEFINED, Vocabulary


class BpeTokenizer:
    """Encodes with the byte-level pieces and merges of a vocabulary.

    Control tokens in a text stay text: "<|eot_id|>" does not become the token of that name.

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
                f"vocabulary: pre-tokenizer {name[:40]!a}, expected one of "
                f"{', '.join(PRE_TOKENIZERS)}; text would be cut wrongly, so it is not encoded"
            )
        self.vocab_size = len(vocabulary)
        self.bos_id, self.eos_id = vocabulary.bos_id, vocabulary.eos_id
        self.adds_space = vocabulary.add_space_prefix
        self.adds_bos = vocabulary.add_bos and self.bos_id >= 0
        self.asks_for_eos = vocabulary.add_eos
        self._vocabulary = vocabulary
        self._kinds = vocabulary.kinds
        self._pieces = vocabulary.pieces
        self._tokenizer = _build(vocabulary)

    def encode(self, text: str, *, bos: bool = True) -> list[int]:
        """The ids of a text, with BOS in front if the vocabulary asks for it and `bos` is true.

        Raises RequestError for half a surrogate pair, which has no UTF-8 form.
        """
        ids = self._tokenizer.encode(encodable(text), add_special_tokens=False).ids
        return [self.bos_id, *ids] if bos and self.adds_bos else ids

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for control tokens and unused ids."""
        check_token(token, self.vocab_size)
        return b"" if self._kinds[token] in (CONTROL, UNUSED) else self._pieces[token]


def _build(vocabulary: Vocabulary) -> Any:
    """A tokenizers.Tokenizer that cuts and merges as the vocabulary specifies."""
    try:
        from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
    except ImportError:
        raise RequestError(
            "byte-level vocabularies need the tokenizers library; install it with: "
            "pip install tokenizers"
        ) from None
    name = vocabulary.pre_tokenizer
    literal = (CONTROL, USER_DEFINED, UNKNOWN)
    ids: dict[str, int] = {}
    added: list[str] = []
    for token, (piece, kind) in enumerate(
        zip(vocabulary.pieces, vocabulary.kinds.tolist(), strict=True)
    ):
        if kind == UNUSED:
            continue
        text = piece.decode("utf-8", "replace") if kind in literal else to_text(piece)
        ids[text] = token
        if kind == USER_DEFINED:
            added.append(text)
    merges = []
    for i, merge in enumerate(vocabulary.merges):
        left, space, right = merge.partition(" ")
        if not space or left not in ids or right not in ids or left + right not in ids:
            raise FormatError(
                f"vocabulary: merge {i} is {merge[:40]!a}, expected two pieces with a space "
                f"between and their joint piece in the vocabulary; the file is damaged"
            )
        merges.append((left, right))
    model = models.BPE(ids, merges, ignore_merges=name in WHOLE_PIECES_FIRST)
    tokenizer = Tokenizer(model)
    cuts = [
        pre_tokenizers.Split(Regex(pattern), behavior="isolated")
        for pattern in PRE_TOKENIZERS[name]
    ]
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, to_bytes])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in added])
    return tokenizer
