"""Our merge against sentencepiece, against a slow twin, and on long texts."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import reference
from helpers.small_models import small_vocabulary
from helpers.small_tokenizers import small_tokenizer, texts, words
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu.files.vocabularies.detect import read_vocabulary
from llama_edu.tokenizer.score_merge import ScoreMergeTokenizer
from llama_edu.tokenizer.sentencepiece import SentencePieceTokenizer
from llama_edu.tokenizer.streaming import decode
from llama_edu.vocabulary import NORMAL, Vocabulary


@given(st.one_of(texts, words))
def test_our_merge_equals_sentencepiece(both, text):
    ours, theirs = both
    assert ours.encode(text) == theirs.encode(text)


@settings(max_examples=150)
@given(st.one_of(texts, words))
def test_our_merge_equals_sentencepiece_on_32000_pieces(real_tokenizers, text):
    ours, theirs = real_tokenizers
    assert ours.encode(text) == theirs.encode(text)


def test_both_give_the_published_ids_of_the_published_texts(real, real_tokenizers):
    """llama.cpp's own texts for the LLaMA vocabulary; the last of 47 is empty and has no line."""
    stem = real / "vectors" / "ggml-vocab-llama-spm.gguf"
    cases = (stem.with_name(stem.name + ".inp")).read_bytes().decode()
    *cases, last = cases.split("\n__ggml_vocab_test__\n")
    lines = (stem.with_name(stem.name + ".out")).read_text().splitlines()
    assert last == "" and len(cases) == 46
    for tokenizer in real_tokenizers:
        for text, line in zip(cases, lines, strict=True):
            assert tokenizer.encode(text, bos=False) == [int(n) for n in line.split()], text


def test_a_bin_and_a_model_of_one_vocabulary_give_the_same_ids(real):
    model = SentencePieceTokenizer(real / "models" / "tok512.model")
    binary = ScoreMergeTokenizer(read_vocabulary(real / "models" / "tok512.bin", 512))
    for line in (real / "text" / "alice.txt").read_text().splitlines()[:400]:
        line = " ".join(line.split())  # this .model was trained to drop further spaces
        assert binary.encode(line) == model.encode(line)
    ids = range(1, 512)
    assert [binary.piece(t) for t in ids] == [model.piece(t) for t in ids]


@given(st.text(st.sampled_from(" thernaiézx"), max_size=30))
def test_our_merge_equals_the_slow_twin(text):
    tokenizer = small_tokenizer()
    scores = {t.decode(): s for t, s in small_vocabulary()[259:]}
    expected = reference.score_merge(" " + text, scores) if text else []
    ids = tokenizer.encode(text, bos=False)
    assert b"".join(tokenizer.piece(token) for token in ids).decode() == "".join(expected)
    known = [symbol for symbol in expected if symbol in scores]
    assert [tokenizer.piece(t).decode() for t in ids if t >= 259] == known


def test_an_empty_text_reads_no_piece_of_the_vocabulary():
    class Unread(tuple):
        def __iter__(self):
            raise AssertionError("somebody reads every piece")

    pieces = small_vocabulary()
    vocabulary = Vocabulary(
        Unread(text for text, _ in pieces), np.zeros(len(pieces), np.float32),
        np.full(len(pieces), NORMAL, np.uint8),
    )  # fmt: skip
    assert ScoreMergeTokenizer(vocabulary).encode("") == [1]
    with pytest.raises(AssertionError, match="every piece"):
        ScoreMergeTokenizer(vocabulary).encode("the")


def test_a_character_without_a_piece_becomes_its_bytes():
    tokenizer = small_tokenizer()
    assert tokenizer.encode("\U0001f600", bos=False) == [266] + [
        3 + byte for byte in "\U0001f600".encode()
    ]


def test_a_long_text_takes_time_in_proportion():
    """100,000 characters in one word; a rescan after every merge would need 10**10 steps."""
    tokenizer = small_tokenizer()
    ids = tokenizer.encode("the" * 33_333)
    assert decode(tokenizer, ids) == "the" * 33_333


def test_no_text_is_ever_merged_into_a_control_piece():
    """A file may call a control piece "qx": what a user types stays text, unlike in llama.cpp."""
    vocabulary = Vocabulary(
        [b"", b"", b"", b"q", b"x", b"", b"w", b"qw"], np.zeros(8, np.float32),
        np.array([2, 3, 3, 1, 1, 3, 1, 4], np.uint8), names={5: b"qx"}, add_space_prefix=False,
        cuts_at_user_defined=True, finds_longest_first=True,
    )  # fmt: skip
    tokenizer = ScoreMergeTokenizer(vocabulary)
    assert tokenizer.encode("qx", bos=False) == [3, 4]
    assert tokenizer.encode("qx", bos=False, special=True) == [5]
    assert tokenizer.encode("qqwx", bos=False) == [3, 7, 4]
    assert tokenizer.name(5) == "qx" and tokenizer.piece(5) == b""
    assert tokenizer.special_ids == {1, 2, 5, 7}


def test_a_user_defined_piece_named_like_an_end_is_a_control_piece_in_gguf():
    """llama.cpp overrides its kind, so that no user can end a turn by typing its name."""
    for name, special_only in ((b"<|im_end|>", True), (b"<|im_mid|>", False)):
        vocabulary = Vocabulary(
            [b"", b"", b"", name, *(bytes([c]) for c in b"<|im_end>")], np.zeros(13, np.float32),
            np.array([2, 3, 3, 4, *[1] * 9], np.uint8), add_space_prefix=False,
            cuts_at_user_defined=True, finds_longest_first=True,
        )  # fmt: skip
        tokenizer = ScoreMergeTokenizer(vocabulary)
        assert (3 not in tokenizer.encode(name.decode())) == special_only
        assert tokenizer.encode(name.decode(), bos=False, special=True) == [3]
