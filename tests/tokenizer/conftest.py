"""Tokenizers of the same vocabulary: our merge, and sentencepiece's library."""

from __future__ import annotations

import pytest

from llama_edu.files.vocabularies.sentencepiece import read_sentencepiece
from llama_edu.tokenizer.score_merge import ScoreMergeTokenizer
from llama_edu.tokenizer.sentencepiece import SentencePieceTokenizer


@pytest.fixture(scope="module")
def both(sentencepiece_model):
    return (
        ScoreMergeTokenizer(read_sentencepiece(sentencepiece_model)),
        SentencePieceTokenizer(sentencepiece_model),
    )


@pytest.fixture(scope="module")
def real_tokenizers(real):
    path = real / "models" / "tokenizer.model"
    return ScoreMergeTokenizer(read_sentencepiece(path)), SentencePieceTokenizer(path)
