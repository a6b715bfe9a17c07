"""Every malformed ggml, ggmf and ggjt file gets its sentence, quickly and in little memory."""

import pytest
from helpers.hostile import check_case, check_hex_view
from helpers.hostile_ggml import FORMATS, GGML_CASES, QUANTIZED, quantized_ggml, shard, tiny_ggml
from helpers.opened import ggml_fields, read_ggml

from llama_edu.files.detect import read_checkpoint


@pytest.mark.parametrize("case", GGML_CASES, ids=lambda case: case.name)
def test_a_malformed_ggml_gets_its_sentence(case, tmp_path):
    check_case(case, tmp_path, read_ggml)


@pytest.mark.parametrize("case", GGML_CASES, ids=lambda case: case.name)
def test_the_hex_view_of_a_malformed_ggml_stays_inside_the_file(case, tmp_path):
    check_hex_view(case.make(tmp_path), ggml_fields)


@pytest.mark.parametrize("fmt", FORMATS)
def test_the_files_from_which_the_cases_are_made_are_valid(fmt, tmp_path):
    """Otherwise a case could be refused for another reason than its own."""
    path = tmp_path / "model.bin"
    path.write_bytes(tiny_ggml(fmt))
    assert read_checkpoint(path).config.hidden_dim == 12


def test_the_two_shards_from_which_the_cases_are_made_are_valid(tmp_path):
    for index, name in enumerate(("model.bin", "model.bin.1")):
        (tmp_path / name).write_bytes(shard(index))
    assert read_checkpoint(tmp_path / "model.bin").is_sharded


@pytest.mark.parametrize("type_name", QUANTIZED)
def test_the_quantized_file_from_which_the_cases_are_made_is_valid(type_name, tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(quantized_ggml(type_name))
    assert read_checkpoint(path).tensors["layers.0.wq"].type == type_name
