"""Which tokenizer a checkpoint needs."""

from __future__ import annotations

import os
from pathlib import Path

from llama_edu.errors import FormatError, RequestError
from llama_edu.files.layout import Checkpoint
from llama_edu.files.vocabularies.ends import stated_ends, with_stated_ends
from llama_edu.files.vocabularies.rows import with_rows
from llama_edu.tokenizer.protocol import Tokenizer
from llama_edu.tokenizer.score_merge import ScoreMergeTokenizer
from llama_edu.vocabulary import Vocabulary


def tokenizer_for(checkpoint: Checkpoint, given: str | os.PathLike[str] | None = None) -> Tokenizer:
    """A tokenizer from the given file, the checkpoint's own vocabulary, or the file next to it.

    It has an entry for every row of the embedding: a row that the vocabulary does not name gets its
    name from an added_tokens.json next to it, or decodes to nothing.

    Raises:
        RequestError: none of the three exists, it has more pieces than the model, or a byte-level
            vocabulary needs the `tokenizers` library and it is not installed.
        FormatError: the file is not a vocabulary, or not one that this package can encode with.
    """
    n_rows = checkpoint.config.vocab_size
    if given is None and checkpoint.vocabulary is not None:
        return tokenizer_of(with_rows(checkpoint.vocabulary, n_rows, checkpoint.paths[0]))
    path = Path(given) if given is not None else checkpoint.tokenizer_path
    if path is None:
        if checkpoint.vocabulary_problem:
            raise FormatError(checkpoint.vocabulary_problem)
        raise RequestError(
            f"{checkpoint.paths[0]}: has no tokenizer, and there is none next to it; give one with "
            f"--tokenizer FILE, or tokenizer= in Python"
        )
    # most weight files contain their vocabulary, and need none of the readers of others
    from llama_edu.files.vocabularies.detect import is_sentencepiece, read_vocabulary

    if is_sentencepiece(path):
        from llama_edu.tokenizer.sentencepiece import SentencePieceTokenizer

        return SentencePieceTokenizer(path, n_rows, stated_ends(checkpoint.carried))
    return tokenizer_of(with_stated_ends(read_vocabulary(path, n_rows), checkpoint.carried))


def tokenizer_of(vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer for a vocabulary: merging by score, or byte-level BPE."""
    if vocabulary.model == "bpe":
        from llama_edu.tokenizer.bpe import BpeTokenizer  # needs an optional library

        return BpeTokenizer(vocabulary)
    return ScoreMergeTokenizer(vocabulary)
