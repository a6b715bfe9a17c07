"""Converted copies of a model compute what the model computes."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.tiny import write_tiny

import llama_edu
from llama_edu.show.runtime.weight_types import WeightTypes
from llama_edu.stated import Stated


@pytest.mark.parametrize(
    "stated",
    [{}, {"context": 31, "rope_theta": 5e4}, {"rope_factor": 4.0, "norm_eps": 1e-3},
     {"rope_factor": 1}],
)  # fmt: skip
def test_a_converted_copy_keeps_what_was_stated_of_the_model(tmp_path, rng, stated):
    path, tokenizer = write_tiny(tmp_path, rng)
    with llama_edu.load(path, tokenizer=tokenizer, **stated) as llama:
        assert llama.stated == Stated(**stated)
        types = WeightTypes(llama, tokenizer)
        copy = types.open("f32")
        assert copy.config.max_seq_len == llama.config.max_seq_len
        np.testing.assert_allclose(copy.logits([1, 5, 9]), llama.logits([1, 5, 9]), atol=2e-5)
        types.close()
