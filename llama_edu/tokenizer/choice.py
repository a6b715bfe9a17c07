"""Which tokenizer a checkpoint needs."""

from __future__ import annotations

import os
from pathlib import Path

from llama_edu.errors import RequestError
from llama_edu.files.layout import Checkpoint
from llama_edu.files.vocabularies.detect import is_sentencepiece, read_vocabulary
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.tokenizer.score_merge import ScoreMergeTokenizer
from llama_edu.tokenizer.sentencepiece import SentencePieceTokenizer
from llama_edu.vocabulary import Vocabulary


def tokenizer_for(
    checkpoint: Checkpoint, given: str | os.PathLike[str] | None = None
) -> Tokenizer | None:
    """A tokenizer from the given file, the checkpoint's own vocabulary, or the file next to it.

    Returns:
        None if none of the three exists.
    Raises:
        RequestError: the file's number of pieces is not the model's, or a byte-level vocabulary
            needs the `tokenizers` library and it is not installed.
        FormatError: the file is not a vocabulary, or not one that this package can encode with.
    """
    if given is None and checkpoint.vocabulary is not None:
        return tokenizer_of(checkpoint.vocabulary)
    path = Path(given) if given is not None else checkpoint.tokenizer_path
    if path is None:
        return None
    vocab_size = checkpoint.config.vocab_size
    if is_sentencepiece(path):
        tokenizer: Tokenizer = SentencePieceTokenizer(path)
    else:
        tokenizer = tokenizer_of(read_vocabulary(path, vocab_size))
    if tokenizer.vocab_size != vocab_size:
        raise RequestError(
            f"{path}: has {tokenizer.vocab_size} pieces, the model has {vocab_size}; this is "
            f"another model's tokenizer"
        )
    return tokenizer


def tokenizer_of(vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer for a vocabulary: merging by score, or byte-level BPE."""
    if vocabulary.model == "bpe":
        from llama_edu.tokenizer.bpe import BpeTokenizer  # needs an optional library

        return BpeTokenizer(vocabulary)
    return ScoreMergeTokenizer(vocabulary)
