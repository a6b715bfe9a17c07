"""Vocabulary files: told apart by content, equal to what sentencepiece itself says."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from helpers.small_models import sentencepiece_vocabulary, small_vocabulary, tokenizer_bin

from llama_edu.errors import FormatError
from llama_edu.files.vocabularies.detect import is_sentencepiece, read_vocabulary
from llama_edu.files.vocabularies.sentencepiece import open_sentencepiece, read_sentencepiece
from llama_edu.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN


def test_a_sentencepiece_model_gives_pieces_scores_and_kinds(sentencepiece_model):
    vocabulary = read_sentencepiece(sentencepiece_model)
    expected = sentencepiece_vocabulary(sentencepiece_model)
    assert vocabulary.pieces == tuple(text for text, _ in expected)
    np.testing.assert_array_equal(vocabulary.scores, np.float32([s for _, s in expected]))
    assert vocabulary.kinds[:3].tolist() == [UNKNOWN, CONTROL, CONTROL]
    assert (vocabulary.kinds[3:259] == BYTE).all() and (vocabulary.kinds[259:] == NORMAL).all()
    assert (vocabulary.unk_id, vocabulary.bos_id, vocabulary.eos_id) == (0, 1, 2)


def test_the_two_kinds_of_file_are_told_by_content(tmp_path, sentencepiece_model):
    path = tmp_path / "tokenizer.model"  # the wrong name on purpose
    path.write_bytes(tokenizer_bin(small_vocabulary()))
    assert is_sentencepiece(sentencepiece_model) and not is_sentencepiece(path)
    assert len(read_vocabulary(path)) == 271
    assert len(read_vocabulary(sentencepiece_model)) == 300


def test_a_tokenizer_bin_whose_longest_piece_has_ten_bytes_is_no_sentencepiece(tmp_path):
    """Its first byte is then the one with which every sentencepiece model starts."""
    pieces = [*small_vocabulary(), (b"0123456789", -99.0)]
    data = tokenizer_bin(pieces)
    assert data[:4] == struct.pack("<I", 10)
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(data)
    assert not is_sentencepiece(path)
    assert read_vocabulary(path).pieces[-1] == b"0123456789"


@pytest.mark.parametrize("data", [b"\n", b"\n\n\n\n", b"\n\x0e\n\x05<unk>", b"\n" + bytes(100)])
def test_a_damaged_sentencepiece_model_is_named(tmp_path, data, capfd):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    if data.startswith(b"\n\x0e"):
        data = data[:8]
    with pytest.raises(FormatError, match=r"is not a sentencepiece model; give a tokenizer.model"):
        open_sentencepiece(path)


def test_another_file_is_named_by_its_first_bytes(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(b"PK\x03\x04 and more")
    with pytest.raises(FormatError, match=r"starts with b'PK\\x03\\x04 and', expected a sentence"):
        read_vocabulary(path)
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="starts with b''"):
        read_vocabulary(path)


def test_a_damaged_model_is_a_sentence_or_a_vocabulary(tmp_path, sentencepiece_model):
    """Some bytes, such as those of a score, can have any value."""
    data = sentencepiece_model.read_bytes()
    path, n_refused = tmp_path / "tokenizer.model", 0
    for place in range(1, len(data), 13):
        path.write_bytes(data[:place] + b"\xff" + data[place + 1 :])
        try:
            read_vocabulary(path)
        except FormatError as error:
            n_refused += 1
            assert str(error).startswith(f"{path}: ")
    assert n_refused > 10
