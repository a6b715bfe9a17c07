"""Every malformed torch file and folder of them gets its sentence, quickly and in little memory."""

import pytest
from helpers.hostile import check_case, check_hex_view
from helpers.hostile_pth import (
    META_CASES,
    PTH_CASES,
    arrays,
    meta_files,
    meta_folder,
    training_file,
)
from helpers.small_models import legacy_pth_file

from llama_edu.files.anatomy import fields_of
from llama_edu.files.detect import read_checkpoint


@pytest.mark.parametrize("case", PTH_CASES, ids=lambda case: case.name)
def test_a_malformed_pth_gets_its_sentence(case, tmp_path):
    check_case(case, tmp_path, read_checkpoint)


@pytest.mark.parametrize("case", META_CASES, ids=lambda case: case.name)
def test_a_malformed_meta_folder_gets_its_sentence(case, tmp_path):
    check_case(case, tmp_path, read_checkpoint)


@pytest.mark.parametrize("case", PTH_CASES, ids=lambda case: case.name)
def test_the_hex_view_of_a_malformed_pth_stays_inside_the_file(case, tmp_path):
    check_hex_view(case.make(tmp_path), fields_of)


@pytest.mark.parametrize("n_bytes", range(0, 150, 7))
def test_the_hex_view_of_a_pth_that_is_cut_stays_inside_the_file(tmp_path, n_bytes):
    path = tmp_path / "model.pth"
    path.write_bytes(training_file(arrays())[:n_bytes])
    check_hex_view(path, fields_of)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_training_file_from_which_the_cases_are_made_is_valid(tmp_path, legacy):
    path = tmp_path / "model.pth"
    path.write_bytes(training_file(arrays(), legacy=legacy))
    checkpoint = read_checkpoint(path)
    assert checkpoint.format == "PyTorch training checkpoint"
    assert checkpoint.tensors["layers.0.wq"].shape == (4, 4)


@pytest.mark.parametrize("n_shards", [1, 2])
def test_the_folders_from_which_the_cases_are_made_are_valid(tmp_path, n_shards):
    whole = meta_folder(tmp_path, meta_files(n_shards))
    assert len(read_checkpoint(whole).paths) == n_shards


def test_a_folder_of_legacy_files_opens(tmp_path):
    shards = {f"_{i:02d}": legacy_pth_file(arrays(i, 2)) for i in range(2)}
    assert read_checkpoint(meta_folder(tmp_path, meta_files(2, **shards))).is_sharded
