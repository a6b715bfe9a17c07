"""Every malformed file of llama2.c gets its sentence, quickly and in little memory."""

import pytest
from helpers.hostile import check_case, check_hex_view
from helpers.hostile_llama2c import LLAMA2C_CASES, TOKENIZER_CASES, pieces, valid
from helpers.opened import read_llama2c

from llama_edu.errors import FormatError
from llama_edu.files.anatomy import fields_of
from llama_edu.files.vocabularies.detect import read_vocabulary


@pytest.mark.parametrize("case", LLAMA2C_CASES, ids=lambda case: case.name)
def test_a_malformed_llama2c_file_gets_its_sentence(case, tmp_path):
    check_case(case, tmp_path, read_llama2c)


@pytest.mark.parametrize("case", LLAMA2C_CASES, ids=lambda case: case.name)
def test_the_hex_view_of_a_malformed_llama2c_file_stays_inside_it(case, tmp_path):
    check_hex_view(case.make(tmp_path), fields_of)


@pytest.mark.parametrize("case", TOKENIZER_CASES, ids=lambda case: case.name)
def test_a_malformed_tokenizer_bin_gets_its_sentence(case, tmp_path):
    check_case(case, tmp_path, read_vocabulary)


def test_empty_pieces_without_end_are_refused(tmp_path):
    path = tmp_path / "tokenizer.bin"
    path.write_bytes(pieces() + bytes(8 * 2**17))
    with pytest.raises(FormatError, match="has more than 131,072 pieces; this is not a tok"):
        read_vocabulary(path)


def test_the_files_from_which_the_cases_are_made_are_valid(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(valid())
    assert read_llama2c(path).config.n_layers == 2
    path.write_bytes(pieces())
    assert len(read_vocabulary(path)) == 8
