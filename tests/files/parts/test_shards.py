"""Shards of a tensor: how they lie in the whole, and what contradicts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llama_edu.errors import FormatError
from llama_edu.files.layout import TensorSpec
from llama_edu.files.parts.shards import check_shards_agree, join, join_rows, sharded

PATHS = [Path("a.0"), Path("a.1")]


def two(name: str, *shape: int) -> list[TensorSpec]:
    return [TensorSpec(name, "f32", shape, 0, 0, file) for file in range(2)]


@pytest.mark.parametrize(
    ("name", "shape", "axis", "whole"),
    [
        ("layers.0.wq", (3, 8), 0, (6, 8)),
        ("layers.0.wo", (8, 3), 1, (8, 6)),
        ("layers.0.w_down", (8, 5), 1, (8, 10)),
        ("token_embedding", (20, 4), 1, (20, 8)),
        ("token_embedding", (10, 8), 0, (20, 8)),  # Llama 3
        ("final_norm", (8,), None, (8,)),
    ],
)
def test_the_axis_of_a_cut_follows_from_the_name_and_the_rows(name, shape, axis, whole):
    tensor = sharded(two(name, *shape), vocab_size=20)
    assert (tensor.name, tensor.axis, tensor.shape) == (name, axis, whole)
    assert [shard.file for shard in tensor.shards] == [0, 1]


@pytest.mark.parametrize("axis", [0, 1])
def test_any_rows_of_the_whole_are_those_of_the_joined_array(axis):
    whole = np.arange(48, dtype=np.float32).reshape(8, 6)
    shards = np.split(whole, 2, axis=axis)
    name = ("layers.0.wq", "layers.0.wo")[axis]
    tensor = sharded(two(name, *shards[0].shape), vocab_size=20)
    np.testing.assert_array_equal(join(tensor, lambda spec: shards[spec.file]), whole)
    for start in range(8):
        for stop in range(start + 1, 9):
            np.testing.assert_array_equal(join_rows(shards, axis, start, stop), whole[start:stop])


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ({}, "a.1: has no layers.0.wq, which a.0 has"),
        ({"layers.0.wq": (2, 2)}, r"a.1: layers.0.wq is f32 \(2, 2\), in a.0 it is f32 \(3, 2\)"),
        ({"layers.0.wq": (3, 2), "output": (1, 1)}, "a.1: has output, which a.0 does not have"),
    ],
)
def test_shards_that_disagree_are_named(second, sentence):
    first = {"layers.0.wq": TensorSpec("layers.0.wq", "f32", (3, 2), 0, 0)}
    check_shards_agree([first, first], PATHS)
    other = {name: TensorSpec(name, "f32", shape, 0, 0) for name, shape in second.items()}
    with pytest.raises(FormatError, match=sentence):
        check_shards_agree([first, other], PATHS)
