"""What every tokenizer of a sentencepiece vocabulary promises, ours and sentencepiece's library."""

from __future__ import annotations

import pytest
from helpers.small_tokenizers import texts
from hypothesis import given

from llama_edu.errors import RequestError
from llama_edu.tokenizer.streaming import decode


@given(texts)
def test_decoding_gives_the_text_back(both, text):
    for tokenizer in both:
        assert decode(tokenizer, tokenizer.encode(text)) == text.replace("\u2581", " ")


def test_an_empty_text_is_bos_alone(both):
    for tokenizer in both:
        assert tokenizer.encode("") == [1] and tokenizer.encode("", bos=False) == []


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


# --- special pieces, names, and what users call first --------------------------------------------


def test_control_pieces_are_one_id_each_only_where_that_is_asked_for(both):
    for tokenizer in both:
        ids = tokenizer.encode("the</s><s> fox", bos=False, special=True)
        first, second = ids.index(2), ids.index(1)
        assert second == first + 1
        # the text between them is tokenized as texts of their own
        assert ids[:first] == tokenizer.encode("the", bos=False)
        assert ids[second + 1 :] == tokenizer.encode(" fox", bos=False)
        assert tokenizer.encode("<s>", special=True) == [1, 1]
        assert tokenizer.encode("<unk>", bos=False, special=True) == [0]


@given(texts)
def test_a_text_without_names_of_pieces_is_the_same_either_way(both, text):
    for tokenizer in both:
        assert tokenizer.encode(text, special=True) == tokenizer.encode(text)


def test_names_and_lengths(both):
    for tokenizer in both:
        assert len(tokenizer) == tokenizer.vocab_size == 300
        names = [tokenizer.name(token) for token in range(300)]
        assert names[:3] == ["<unk>", "<s>", "</s>"] and names[13] == "<0x0A>"
        assert len(set(names)) == 300
        assert tokenizer.special_ids == {1, 2} and tokenizer.end_ids == (2,)
        with pytest.raises(RequestError, match="id 300, expected 0 to 299"):
            tokenizer.name(300)
    ours, theirs = both
    assert [ours.name(token) for token in range(300)] == names
    assert theirs.decode(ours.encode("the fox")) == ours.decode(iter(theirs.encode("the fox")))
