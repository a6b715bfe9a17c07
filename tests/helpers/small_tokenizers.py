"""A tokenizer over the small vocabulary, and texts that are likely to go wrong."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from helpers.small_models import small_vocabulary
from llama_edu.tokenizer.score_merge import ScoreMergeTokenizer
from llama_edu.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, Vocabulary

#: Any text that has a UTF-8 form, with what is likely to go wrong made likely.
texts = st.text(
    st.one_of(
        st.sampled_from(" \n\t\u2581aethern.,'0\u00e9\u4f60\U0001f600\u200d\u0301\0"),
        st.characters(blacklist_categories=("Cs",)),
    ),
    max_size=40,
)
words = st.lists(
    st.sampled_from(["the", " the", "fox", "Once upon", "  ", "\n", "Möwe", "23", "qx", "told"]),
    max_size=12,
).map("".join)


def small_tokenizer() -> ScoreMergeTokenizer:
    """Our merge over small_vocabulary()."""
    pieces = small_vocabulary()
    kinds = np.array([UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * 12, np.uint8)
    scores = np.array([score for _, score in pieces], np.float32)
    return ScoreMergeTokenizer(Vocabulary(tuple(text for text, _ in pieces), scores, kinds))
