"""Checkpoint: what a reader hands to the rest of the program."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.small_models import (
    llama2c_v0,
    old_config,
    random_weights,
    write_meta_folder,
)

import llama_edu
from llama_edu.files.detect import read_checkpoint


@pytest.mark.parametrize("tied", [False, True])
def test_parameters_are_the_numbers_of_the_file_and_a_tied_output_counts_once(
    tmp_path, config, rng, tied
):
    weights = random_weights(config, rng, tied=tied)
    path = tmp_path / "model.bin"
    path.write_bytes(llama2c_v0(config, weights))
    n = sum(array.size for array in weights.values())
    checkpoint = read_checkpoint(path)
    assert checkpoint.tied_output == tied and checkpoint.n_parameters == n
    with llama_edu.load(path) as llama:
        assert f"{n:,} parameters" in repr(llama)
        assert f"{n:,}" in llama._repr_html_()


def test_parameters_in_shards_are_those_of_the_whole(tmp_path, rng):
    config = old_config()
    weights = random_weights(config, rng)
    folder = write_meta_folder(tmp_path / "model", config, weights, n_shards=2)
    n = sum(int(np.prod(array.shape)) for array in weights.values())
    assert read_checkpoint(folder).n_parameters == n
