"""Which tokenizer a vocabulary calls for."""

from __future__ import annotations

from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.tokenizer.score_merge import ScoreMergeTokenizer
from llama_edu.vocabulary import Vocabulary


def tokenizer_of(vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer that a file's own pieces call for: merges by score, or byte-level BPE."""
    if vocabulary.model == "bpe":
        from llama_edu.tokenizer.bpe import BpeTokenizer  # needs an optional library

        return BpeTokenizer(vocabulary)
    return ScoreMergeTokenizer(vocabulary)
