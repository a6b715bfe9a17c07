"""One token, part by part: together the parts touch what the token touches, each its own layer."""

from __future__ import annotations

import platform
import threading

import numpy as np
import pytest
from helpers.tiny import write_tiny

import llama_edu
from llama_edu.errors import RequestError
from llama_edu.experiments.observe.within_token import in_parts, within_token
from llama_edu.pages.by_tensor import layer_of
from llama_edu.pages.lab import PageLab
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.generate import prefill
from llama_edu.transformer.model import forward

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="measures Linux")

BEFORE, TOKENS = [1, 20, 30, 7], [41]


@pytest.fixture
def path(tmp_path, rng):
    return write_tiny(tmp_path, rng)[0]


def test_the_parts_together_touch_what_the_token_touches(path):
    within = within_token(path, BEFORE, TOKENS)
    with (
        PageLab.open(path) as lab,
        llama_edu.load(path, lab=lab, kernels="numpy", arithmetic="float32") as llama,
    ):
        cache = KVCache(llama.config, 5)
        prefill(llama.model, BEFORE, cache)
        with lab.record("whole") as whole:
            forward(llama.model, TOKENS, cache)
    assert np.array_equal(within.values("first") >= 0, whole.pages)


def test_each_part_reads_its_own_tensors(path):
    within = within_token(path, BEFORE, TOKENS)
    names = [step.text for step in within.steps]
    n_layers = llama_edu.load(path).config.n_layers
    assert names == ["embedding", *(f"layer {i}" for i in range(n_layers)), "output"]
    for step in within.steps:
        record = step.record
        if record.backend != "faults":
            assert np.array_equal(record.pages, record.predicted)
        if step.text.startswith("layer"):
            assert {layer_of(name) for name in record.names_read} == {step.text}
    assert within.steps[0].record.names_read == ("token_embedding",)
    assert set(within.steps[-1].record.names_read) == {"final_norm", "output"}


def test_the_faults_of_the_parts_grow_and_are_those_of_a_fresh_mapping(path):
    within = within_token(path, BEFORE, TOKENS)
    if not within.plain_faults:
        pytest.skip("this system counts no faults")
    counts = [within.plain_faults[n].total for n in range(1, len(within) + 1)]
    assert counts == sorted(counts) and counts[0] >= 1
    assert within.summary(1).naive_fraction is not None


def test_a_prompt_has_parts_too_and_needs_no_tokens_before_it(path):
    within = within_token(path, [], BEFORE)
    assert within.noun == "part" and within.summary().n_touched > 0


def test_who_was_stopped_gets_the_pages_without_the_faults(path):
    stopping = threading.Event()
    stopping.set()
    within = within_token(path, BEFORE, TOKENS, stopping=stopping)
    assert len(within) > 2 and within.plain_faults == {}


def test_an_unknown_token_is_refused_and_the_file_is_closed(path):
    with pytest.raises(RequestError):
        within_token(path, BEFORE, [999_999])
    path.unlink()


def test_the_numbers_are_those_of_an_unwatched_computation(path):
    ended = []
    with llama_edu.load(path, kernels="numpy", arithmetic="float32") as llama:
        caches = [KVCache(llama.config, 4) for _ in range(2)]
        in_parts(llama.model, BEFORE, caches[0], ended.append)
        forward(llama.model, BEFORE, caches[1])
        assert np.array_equal(caches[0].keys, caches[1].keys)
    assert len(ended) == len(set(ended)) == llama.config.n_layers + 2
