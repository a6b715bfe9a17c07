"""What a token reads: pages of the file that a converted one really is, and of no other."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

from llama_edu.bundled import bundled_checkpoint
from llama_edu.convert import convert
from llama_edu.files.detect import read_checkpoint
from llama_edu.loading import load
from llama_edu.pages.lab import PageLab
from llama_edu.quality.losses import token_nats
from llama_edu.slimmer.texts import Texts
from llama_edu.slimmer.ways.cost import cost, no_feed_forward, placed
from llama_edu.slimmer.ways.float32 import in_float32
from llama_edu.slimmer.ways.layers import renumbered, without_layers
from llama_edu.slimmer.ways.measured import measured
from llama_edu.slimmer.ways.stored_types import in_type, own_types, why_not


@pytest.fixture(scope="module")
def stories(tmp_path_factory):
    """The bundled model as f16, q8_0 and q4_0: what is placed without a file is compared."""
    folder = tmp_path_factory.mktemp("stories")
    for type in ("f16", "q8_0", "q4_0"):
        convert(bundled_checkpoint(), folder / f"{type}.gguf", to="gguf", type=type)
    return folder


TEXTS = Texts([[1, 5, 9, 300]], [[1, 7, 20, 411, 90]], "ids")


@pytest.mark.parametrize("type", ["q8_0", "q4_0"])
def test_weights_are_placed_where_a_converted_file_has_them(stories, type):
    with load(stories / "f16.gguf", kernels="numpy") as llama:
        base = measured(llama, TEXTS)
        found = base.cost_as_file(in_type(base.stored, type))
        del base
    tensors = read_checkpoint(stories / f"{type}.gguf").tensors
    with load(stories / f"{type}.gguf", kernels="numpy") as llama:
        expected = cost(llama.model, tensors, 1)
    assert found.n_bytes == expected.n_bytes and found.n_pages == expected.n_pages
    np.testing.assert_array_equal(found.pages, expected.pages)


def test_a_lab_observes_the_pages_that_are_computed(stories):
    path = stories / "q8_0.gguf"
    with PageLab.open(path) as lab, load(path, lab=lab, kernels="numpy") as llama:
        with lab.record() as record:
            llama.logits([1])
        found = cost(llama.model, lab.tensors, 1)
        assert record.predicted is not None
        np.testing.assert_array_equal(record.predicted[: len(found.pages)], found.pages)
        if record.verdict.kind == "exact":
            np.testing.assert_array_equal(record.pages[: len(found.pages)], found.pages)


def test_layers_left_out_and_the_floor_leave_their_pages_alone(stories):
    with load(stories / "f16.gguf", kernels="numpy") as llama:
        tensors = llama.checkpoint.tensors
        whole = cost(llama.model, tensors, 1)
        fewer = cost(without_layers(llama.model, [2]), renumbered(tensors, 6, [2]), 1)
        floor = cost(llama.model, tensors, 1, ffn=no_feed_forward)
        row = 2 * llama.config.dim
    left_out = sum(t.n_bytes for n, t in tensors.items() if n.startswith("layers.2."))
    assert whole.n_bytes - fewer.n_bytes == left_out
    assert not (fewer.pages & ~whole.pages).any()
    inside = slice(tensors["layers.2.wq"].offset // 4096 + 1, tensors["layers.2.wq"].end // 4096)
    assert whole.pages[inside].all() and not fewer.pages[inside].any()
    networks = sum(t.n_bytes for n, t in tensors.items() if "w_" in n or "ffn_norm" in n)
    assert whole.n_bytes - floor.n_bytes == networks
    embedding = tensors["token_embedding"].n_bytes
    assert whole.n_bytes == sum(t.n_bytes for t in tensors.values()) - embedding + row


def test_as_float32_a_model_computes_the_same_by_any_number_of_threads():
    from dataclasses import replace

    model, text = random_model(1), random_text(1, 40)
    stored = in_type(model, "f16")
    expected = token_nats(stored, [text])
    for threads in (1, 3):
        found = token_nats(in_float32(replace(stored, threads=threads)), [text])
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_tied_output_stays_as_it_is_and_rows_must_be_whole_blocks():
    tied = random_model(3, dim=96, hidden_dim=160, n_heads=6)
    changed = in_type(tied, "q8_0")
    assert changed.weights["token_embedding"] is tied.weights["token_embedding"]
    assert own_types(changed) == {"q8_0"} and own_types(tied) == {"f32"}
    assert why_not(tied, "q8_0") == ""
    assert why_not(tied, "q4_k") == "rows of 96 numbers are no whole blocks of 256"
    assert "rows of 24 numbers" in why_not(random_model(1), "q8_0")


def test_placed_weights_begin_at_multiples_of_32_bytes():
    arrays = {"a": np.zeros((3, 5), np.float32), "b": np.zeros(7, np.float32)}
    specs = placed(arrays, 100 * 32)
    assert [(s.offset, s.n_bytes) for s in specs.values()] == [(3200, 60), (3264, 28)]
