"""Two checkpoints compared: what counts as equal, and what never does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.small_models import llama2c_v0, random_weights

from llama_edu.compare import compare


@pytest.fixture
def write(tmp_path, config):
    """A function that writes weights as a file."""

    def write(name, weights):
        path = tmp_path / name
        path.write_bytes(llama2c_v0(config, weights))
        return path

    return write


@pytest.mark.parametrize("damaged", ["first", "second", "both"])
def test_a_number_that_is_none_is_never_equal(write, config, weights, damaged):
    """max(0.0, nan) is 0.0: such files were called the same model."""
    broken = {name: array.copy() for name, array in weights.items()}
    broken["layers.1.wq"][3, 7] = np.nan
    a = write("a.bin", weights if damaged == "second" else broken)
    b = write("b.bin", weights if damaged == "first" else broken)
    result = compare(a, b, tolerance=1e9)
    assert not result.same and not result.same_greedy
    (different,) = [t for t in result.tensors if t.largest != 0]
    assert different.name == "layers.1.wq" and math.isnan(different.largest)
    assert different.first_nan == (3, 7)
    assert "first that is not a number: layers.1.wq[3, 7]" in str(result)


def test_equal_infinities_are_equal_and_an_infinity_alone_is_not(write, weights):
    broken = {name: array.copy() for name, array in weights.items()}
    broken["layers.0.w_up"][0, 0] = np.inf
    a, b = write("a.bin", broken), write("b.bin", weights)
    alone = compare(a, b, tolerance=1e9)
    assert not alone.same
    assert [t.name for t in alone.tensors if t.largest != 0] == ["layers.0.w_up"]
    assert all(t.largest == 0 for t in compare(a, a).tensors)


def test_a_file_is_the_same_as_itself(write, weights):
    a = write("a.bin", weights)
    assert compare(a, a).same


def test_different_weights_are_different(write, config, weights, rng):
    a, b = write("a.bin", weights), write("b.bin", random_weights(config, rng))
    assert not compare(a, b, tolerance=1e-3).same


def test_an_output_that_is_the_embedding_is_compared_once(write, config, weights):
    tied = {name: array for name, array in weights.items() if name != "output"}
    untied = {**tied, "output": tied["token_embedding"]}
    a, b = write("a.bin", tied), write("b.bin", untied)
    assert len(compare(a, a).tensors) == len(tied)
    assert [t.name for t in compare(a, b).tensors].count("output") == 1, "stored in one of them"
