"""Faults of a text on a plain mapping, step by step."""

import threading

from helpers.tiny import write_tiny

from llama_edu.experiments.observe.plain_faults import plain_faults
from llama_edu.stated import Stated


def test_a_text_that_was_stopped_before_its_first_step_has_no_faults(tmp_path, rng):
    """It was "failed: KV cache: capacity 0"."""
    path, _ = write_tiny(tmp_path, rng)
    assert plain_faults(path, [], threading.Event(), Stated()) == {}


def test_each_step_adds_its_faults(tmp_path, rng):
    path, _ = write_tiny(tmp_path, rng)
    counts = plain_faults(path, [[1, 5], [7], [9]], threading.Event(), Stated())
    if counts:  # a system that does not count has none
        assert list(counts) == [1, 2, 3]
        assert counts[1].total <= counts[2].total <= counts[3].total
