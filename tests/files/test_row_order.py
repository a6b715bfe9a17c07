"""Row order of wq and wk: one function each way, which moves those two and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.huggingface_by_hand import halves_row_by_row
from helpers.small_models import random_weights, small_config

from llama_edu.errors import ShapeError
from llama_edu.files.row_order import (
    n_rotated_heads,
    permute_rows_to_interleaved,
    rows_in_halves,
    rows_side_by_side,
)


def test_only_wq_and_wk_move_and_each_by_its_own_number_of_heads(config, weights):
    halves = replace(config, rope_pairing="halves")
    for name, array in weights.items():
        moved = rows_in_halves(array, name, config)
        n_heads = {"wq": 6, "wk": 2}.get(name.rpartition(".")[2])
        assert n_rotated_heads(name, config) == n_heads
        if n_heads is None:
            assert moved is array
        else:
            np.testing.assert_array_equal(moved, halves_row_by_row(array, n_heads))
        np.testing.assert_array_equal(rows_side_by_side(moved, name, halves), array)


def test_a_model_with_pairs_side_by_side_is_left_as_it_is(rng):
    config = small_config()
    for name, array in random_weights(config, rng).items():
        assert rows_side_by_side(array, name, config) is array


def test_rows_that_are_no_pairs_for_each_head_are_refused():
    with pytest.raises(ShapeError, match="7 rows, expected an even number for each of 2 heads"):
        permute_rows_to_interleaved(np.zeros((7, 3), np.float32), 2)
