"""Byte-level BPE equals a slow reading of the rules, and refuses what it does not know."""

import numpy as np
import pytest

from llama_edu.errors import FormatError, RequestError
from llama_edu.files.vocabularies import byte_level
from llama_edu.tokenizer.bpe import BpeTokenizer
from llama_edu.tokenizer.special import SpecialPieces
from llama_edu.tokenizer.streaming import decode
from llama_edu.vocabulary import CONTROL, NORMAL, USER_DEFINED, Vocabulary

pytest.importorskip("tokenizers")

MERGES = [
    "l l",
    "h e",
    "he ll",
    "\u0120 w",
    "2 3",
    "1 2",
    "12 3",
    "23 4",
    "\u0120w o",
    "\u00e2 \u0124",
]


def vocabulary(pre_tokenizer="llama-bpe", merges=MERGES, **changes) -> Vocabulary:
    """All 256 bytes, what the merges make, and three named tokens at the end."""
    pieces = [bytes([b]) for b in range(256)]
    for merge in MERGES:
        pieces.append(byte_level.to_bytes(merge.replace(" ", "")))
    kinds = [NORMAL] * len(pieces)
    pieces += [b"<|begin|>", b"<|end|>", b"<|user|>"]
    kinds += [CONTROL, CONTROL, USER_DEFINED]
    n = len(pieces)
    values = {
        "pieces": pieces, "scores": np.zeros(n, np.float32), "kinds": np.array(kinds, np.uint8),
        "model": "bpe", "bos_id": n - 3, "eos_id": n - 2, "unk_id": -1, "add_bos": True,
        "add_space_prefix": False, "merges": merges, "pre_tokenizer": pre_tokenizer,
    }  # fmt: skip
    return Vocabulary(**(values | changes))


def slow_merge(word: bytes) -> list[bytes]:
    """Take a whole piece as it is; else apply the earliest merge of the list until none applies."""
    if word in vocabulary().pieces:  # Llama 3's rule; GPT-2 has none
        return [word]
    symbols = [bytes([b]) for b in word]
    rules = [tuple(map(byte_level.to_bytes, m.split(" "))) for m in MERGES]
    while True:
        for left, right in rules:
            pairs = [
                i for i in range(len(symbols) - 1) if (symbols[i], symbols[i + 1]) == (left, right)
            ]
            if pairs:
                symbols[pairs[0] : pairs[0] + 2] = [left + right]
                break
        else:
            return symbols


@pytest.mark.parametrize(
    ("text", "cuts"),
    [
        ("hello", ["hello"]),
        ("hello world", ["hello", " world"]),
        ("12345", ["123", "45"]),
        ("a  hell", ["a", " ", " hell"]),
        ("\u2582\u00e9\n\n x", ["\u2582", "\u00e9", "\n\n", " x"]),
        ("we'LL 1234", ["we", "'LL", " ", "123", "4"]),
    ],
)
def test_words_are_cut_as_llama_3_cuts_and_merged_in_order(text, cuts):
    tokenizer = BpeTokenizer(vocabulary())
    expected = [piece for cut in cuts for piece in slow_merge(cut.encode())]
    ids = tokenizer.encode(text, bos=False)
    assert [tokenizer.piece(i) for i in ids] == expected
    assert tokenizer.encode(text) == [tokenizer.bos_id, *ids]


def test_gpt_2_does_not_cut_numbers_into_threes():
    def pieces(name: str) -> list[bytes]:
        tokenizer = BpeTokenizer(vocabulary(name))
        return [tokenizer.piece(i) for i in tokenizer.encode("12345", bos=False)]

    assert pieces("gpt-2") == [b"1", b"234", b"5"]  # "23" and "234" come before "12" in the list
    assert pieces("llama-bpe") == [b"123", b"4", b"5"]  # cut into 123 and 45; 123 is a piece
    assert pieces("smollm") == [b"1", b"2", b"3", b"4", b"5"]


@pytest.mark.parametrize("name", byte_level.PRE_TOKENIZERS)
def test_every_text_comes_back(name):
    tokenizer = BpeTokenizer(vocabulary(name))
    text = (
        "H\u00e9llo  w\u00f6rld\r\n\n\t 3.14159 \u65e5\u672c \U0001f999 it's\u2028 DON'T\0 <|end|>"
    )
    ids = tokenizer.encode(text)
    assert b"".join(map(tokenizer.piece, ids)) == text.encode()
    assert tokenizer.eos_id not in ids  # a control token's name in a text is text


def test_user_defined_tokens_are_found_in_a_text_and_control_tokens_are_empty():
    tokenizer = BpeTokenizer(vocabulary())
    assert tokenizer.encode("<|user|>", bos=False) == [tokenizer.vocab_size - 1]
    assert tokenizer.piece(tokenizer.bos_id) == b""
    assert tokenizer.encode("", bos=True) == [tokenizer.bos_id]
    assert BpeTokenizer(vocabulary(add_bos=False)).encode("a")[0] == ord("a")


def test_a_space_in_front_of_a_text_is_the_texts_own():
    tokenizer = BpeTokenizer(vocabulary())
    assert decode(tokenizer, tokenizer.encode(" hello")) == " hello"


def test_what_cannot_be_right_is_refused_in_words():
    with pytest.raises(FormatError, match="pre-tokenizer 'viking', expected one of gpt-2"):
        BpeTokenizer(vocabulary("viking"))
    with pytest.raises(FormatError, match="merges by spm, expected byte-level bpe"):
        BpeTokenizer(vocabulary(model="spm"))
    for merge in ("ab", "l q", "\ufffd l", ""):
        with pytest.raises(FormatError, match="merge 0 is "):
            BpeTokenizer(vocabulary(merges=[merge]))
    tokenizer = BpeTokenizer(vocabulary())
    with pytest.raises(RequestError, match="character 1 is half a surrogate pair"):
        tokenizer.encode("a\ud800")
    with pytest.raises(RequestError, match="id -1, expected 0 to"):
        tokenizer.piece(-1)


def test_byte_level_spelling_is_one_to_one():
    every = bytes(range(256))
    text = byte_level.to_text(every)
    assert len(set(text)) == 256 and text.isprintable()
    assert byte_level.to_bytes(text) == every
    assert byte_level.to_text(b" hi\n") == "\u0120hi\u010a"  # as GPT-2's vocabulary spells it
    assert byte_level.to_bytes("\u4e00") is None


def test_control_pieces_are_one_id_each_where_that_is_asked_for():
    tokenizer = BpeTokenizer(vocabulary())
    n = tokenizer.vocab_size
    marked = tokenizer.encode("hell<|end|>o<|user|>", bos=False, special=True)
    assert marked == [*tokenizer.encode("hell", bos=False), n - 2, ord("o"), n - 1]
    assert [tokenizer.name(t) for t in (n - 2, n - 1)] == ["<|end|>", "<|user|>"]
    assert tokenizer.name(tokenizer.encode(" w", bos=False)[0]) == "\u0120w"
    assert tokenizer.decode(marked) == "hello<|user|>" and len(tokenizer) == n
    assert tokenizer.special_ids == {n - 3, n - 2, n - 1}


def test_merges_make_no_control_piece():
    """A control piece called "hell", which Llama 3's rule would take whole, stays out of a text."""
    changed = vocabulary()
    kinds = changed.kinds.copy()
    kinds[changed.pieces.index(b"hell")] = CONTROL
    tokenizer = BpeTokenizer(vocabulary(kinds=kinds))
    token = changed.pieces.index(b"hell")
    assert token not in tokenizer.encode("hell hello", bos=False)
    assert token in tokenizer.encode("hell", bos=False, special=True)


def test_of_overlapping_pieces_the_longest_wins_in_gguf_and_the_first_elsewhere():
    ids = {"abc": 1, "cdef": 2, "ab": 3, "ef": 4}
    assert SpecialPieces(ids).cut("xabcdefy") == ["x", 1, "d", 4, "y"]
    assert SpecialPieces(ids, longest_first=True).cut("xabcdefy") == ["x", 3, 2, "y"]
    assert SpecialPieces(ids).cut("") == [] and SpecialPieces({"": 1}).cut("a") == ["a"]
    many = SpecialPieces({f"<{n}>": n for n in range(20_000)})
    assert many.cut("a<19999><0>" * 2) == ["a", 19999, 0] * 2
