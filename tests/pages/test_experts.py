"""Models with experts: the pages that the forward pass asked for are those it touched."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.ground_truth import BACKENDS, pressed
from helpers.mixtral_by_hand import LAYOUTS, mixtral_config, mixtral_weights, write_gguf

from llama_edu.convert import convert
from llama_edu.errors import MeasurementError
from llama_edu.loading import load
from llama_edu.pages.lab import PageLab
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.experts import choices
from llama_edu.transformer.model import forward

#: Experts of two megabytes in all, each a few dozen pages; sizes that are no multiples of a page.
CONFIG = mixtral_config(
    dim=96, hidden_dim=160, n_experts=7, n_experts_per_token=2, vocab_size=300, n_layers=2
)
N_PROMPT, N_STEPS = 3, 6


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    weights = mixtral_weights(CONFIG)
    found = {}
    for layout in LAYOUTS:
        folder = tmp_path_factory.mktemp("experts")
        found[layout] = write_gguf(folder, CONFIG, weights, layout)
    found["q8_0"] = found["one tensor"].with_name("q8_0.gguf")
    convert(found["one tensor"], found["q8_0"], to="gguf", type="q8_0")
    return found


def steps(rng):
    tokens = rng.integers(3, CONFIG.vocab_size, N_PROMPT + N_STEPS).tolist()
    return [tokens[:N_PROMPT], *([token] for token in tokens[N_PROMPT:])]


def check(path, backend, allowed=()):
    try:
        lab = PageLab.open(path, backend)
    except MeasurementError as refused:
        pytest.skip(str(refused))
    touched = []
    with lab, load(path, lab=lab) as llama:
        cache = KVCache(llama.config, N_PROMPT + N_STEPS)
        for step in steps(np.random.default_rng(5)):
            routed = {}

            def watch(name, x, routed=routed):
                if name.endswith("router"):
                    routed[name] = x.copy()
                return x

            with lab.record("step") as record:
                forward(llama.model, step, cache, tap=watch)
            if pressed(record.verdict.reasons):
                pytest.skip(record.verdict.reasons[0])
            assert not (record.predicted & ~record.pages).any()
            if backend == "private-copy":
                assert record.verdict.kind == "upper bound"
            else:
                assert np.array_equal(record.pages, record.predicted)
                assert record.verdict.kind in ("exact", *allowed)
                touched.append((check_experts(llama, record, routed), record.pages))
    return touched


def check_experts(llama, record, routed):
    """Inside every expert all pages were touched or none, as its router chose."""
    used = choices(routed, llama.config).used()
    for layer, experts in enumerate(used):
        for expert, chosen in enumerate(experts):
            for kind in ("w_gate", "w_up", "w_down"):
                spec = llama.checkpoint.tensors[f"layers.{layer}.experts.{expert}.{kind}"]
                inside = slice(-(-spec.offset // record.page_size), spec.end // record.page_size)
                pages = record.pages[inside]
                assert len(pages) and (pages == chosen).all()
    return used


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_model_with_experts_touches_the_pages_it_asks_for(files, backend):
    check(files["one tensor"], backend, allowed=("upper bound",) if backend == "mincore" else ())


@pytest.mark.parametrize("stored", ["a tensor each", "q8_0"])
def test_every_way_of_storing_experts_is_predicted(files, stored):
    check(files[stored], "uffd")


def test_tokens_with_other_experts_touch_other_pages(files):
    touched = check(files["one tensor"], "uffd")
    decoded = [(used, pages) for used, pages in touched[1:]]
    others = [
        (a, b)
        for i, (used, a) in enumerate(decoded)
        for used_b, b in decoded[:i]
        if not np.array_equal(used, used_b)
    ]
    assert others and all(not np.array_equal(a, b) for a, b in others)
    for used, pages in decoded:
        assert used.sum(axis=1).tolist() == [2, 2]
        assert pages.mean() < 0.5  # of the file; most of it is experts that were not chosen
