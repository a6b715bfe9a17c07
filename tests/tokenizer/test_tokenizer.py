"""Text to ids and back: our merge against sentencepiece, and characters that come in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import reference
from helpers.small_models import small_vocabulary
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_edu.errors import RequestError
from llama_edu.files.vocabularies.detect import read_vocabulary
from llama_edu.files.vocabularies.sentencepiece import read_sentencepiece
from llama_edu.tokenizer.score_merge import ScoreMergeTokenizer
from llama_edu.tokenizer.sentencepiece import SentencePieceTokenizer
from llama_edu.tokenizer.streaming import StreamDecoder, decode
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
    pieces = small_vocabulary()
    kinds = np.array([UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL] * 12, np.uint8)
    scores = np.array([score for _, score in pieces], np.float32)
    return ScoreMergeTokenizer(Vocabulary(tuple(text for text, _ in pieces), scores, kinds))


@pytest.fixture(scope="module")
def both(sentencepiece_model):
    return (
        ScoreMergeTokenizer(read_sentencepiece(sentencepiece_model)),
        SentencePieceTokenizer(sentencepiece_model),
    )


@given(st.one_of(texts, words))
def test_our_merge_equals_sentencepiece(both, text):
    ours, theirs = both
    assert ours.encode(text) == theirs.encode(text)


@settings(max_examples=150)
@given(st.one_of(texts, words))
def test_our_merge_equals_sentencepiece_on_32000_pieces(real_tokenizers, text):
    ours, theirs = real_tokenizers
    assert ours.encode(text) == theirs.encode(text)


@pytest.fixture(scope="module")
def real_tokenizers(real):
    path = real / "models" / "tokenizer.model"
    return ScoreMergeTokenizer(read_sentencepiece(path)), SentencePieceTokenizer(path)


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


@given(texts)
def test_decoding_gives_the_text_back(both, text):
    for tokenizer in both:
        assert decode(tokenizer, tokenizer.encode(text)) == text.replace("\u2581", " ")


def test_an_empty_text_is_bos_alone(both):
    for tokenizer in both:
        assert tokenizer.encode("") == [1] and tokenizer.encode("", bos=False) == []


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


def test_one_space_is_put_in_front_and_one_taken_away(both):
    for tokenizer in both:
        ids = tokenizer.encode("the")
        assert b"".join(tokenizer.piece(token) for token in ids) == b" the"
        assert decode(tokenizer, ids) == "the"
        assert decode(tokenizer, tokenizer.encode("  the")) == "  the"


def test_control_pieces_add_no_text_and_unknown_adds_its_sign(both):
    for tokenizer in both:
        assert tokenizer.piece(1) == tokenizer.piece(2) == b""
        assert tokenizer.piece(0).decode() == " \u2047 "


def test_a_character_without_a_piece_becomes_its_bytes():
    tokenizer = small_tokenizer()
    assert tokenizer.encode("\U0001f600", bos=False) == [266] + [
        3 + byte for byte in "\U0001f600".encode()
    ]


def test_special_tokens_in_a_text_are_only_text(both):
    """A text cannot smuggle BOS or EOS into the prompt."""
    for tokenizer in both:
        assert not {1, 2} & set(tokenizer.encode("<s></s>", bos=False))
        assert 3 + 0x0A not in tokenizer.encode("<0x0A>", bos=False)


def test_half_a_surrogate_pair_is_named(both):
    for tokenizer in both:
        with pytest.raises(RequestError, match="character 2 is half a surrogate pair"):
            tokenizer.encode("ab\ud800")


@pytest.mark.parametrize("token", [-1, 300, 2**40])
def test_an_unknown_id_is_named(both, token):
    for tokenizer in both:
        with pytest.raises(RequestError, match=f"id {token}, expected 0 to 299"):
            tokenizer.piece(token)


def test_a_long_text_takes_time_in_proportion():
    """100,000 characters in one word; a rescan after every merge would need 10**10 steps."""
    tokenizer = small_tokenizer()
    ids = tokenizer.encode("the" * 33_333)
    assert decode(tokenizer, ids) == "the" * 33_333


# --- streaming ----------------------------------------------------------------------------------


def bytes_of(text: str) -> list[int]:
    return [3 + byte for byte in text.encode()]


@given(texts)
def test_a_stream_of_bytes_joins_to_the_text(text):
    decoder = StreamDecoder(small_tokenizer(), at_start=False)
    shown = [decoder.push(token) for token in bytes_of(text)]
    assert "".join(shown) + decoder.finish() == text


def test_an_unfinished_character_waits_and_shows_nothing():
    decoder = StreamDecoder(small_tokenizer(), at_start=False)
    assert [decoder.push(token) for token in bytes_of("a\U0001f600b")] == [
        "a", "", "", "", "\U0001f600", "b"
    ]  # fmt: skip
    assert decoder.finish() == ""


def test_what_never_becomes_a_character_is_replaced_once():
    tokenizer = small_tokenizer()
    decoder = StreamDecoder(tokenizer, at_start=False)
    half = bytes_of("\u4f60")[:2]
    assert [decoder.push(token) for token in [*half, *bytes_of("a")]] == ["", "", "\ufffda"]
    for token in half:
        decoder.push(token)
    assert decoder.finish() == "\ufffd" and decoder.finish() == ""
    assert decode(tokenizer, [3 + ord("a"), 3 + 0xFF]) == "a\ufffd"


def test_only_the_first_space_of_a_text_is_dropped():
    tokenizer = small_tokenizer()
    space = tokenizer.encode(" ", bos=False)
    decoder = StreamDecoder(tokenizer, at_start=True)
    assert decoder.push(1) == ""  # BOS is no text, so the text still begins after it
    assert [decoder.push(266), decoder.push(266)] == ["", " "]
    assert StreamDecoder(tokenizer, at_start=False).push(266) == " "
    assert space
