"""The kept neurons alone: the numbers of a slow twin, and the pages that were predicted."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from helpers.ground_truth import BACKENDS, pressed
from helpers.layout_files import plain_gguf, some_order
from helpers.random_models import random_model, random_text

import llama_edu
from llama_edu.convert import convert
from llama_edu.errors import MeasurementError, RequestError, ShapeError
from llama_edu.files.layout import LAYOUTS
from llama_edu.pages.lab import PageLab
from llama_edu.slimmer.activations import observe_activations
from llama_edu.slimmer.kept import kept_by_gate, kept_by_masks
from llama_edu.slimmer.masks import MaskTap, choose, neuron_masks
from llama_edu.slimmer.neuron_pages import NeuronPages
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="pages are measured on Linux")
TOKENS = [1, 5, 3, 200]


def random_masks(config, n_positions, share, seed=2):
    shape = (config.n_layers, n_positions, config.hidden_dim)
    return np.random.default_rng(seed).random(shape) >= share


def slow_feed_forward(masks):
    """One neuron after the other, in float64."""

    def ffn(model, layer, x, see):
        weights = {n: np.asarray(model.weights[f"layers.{layer}.{n}"], np.float64)
                   for n in ("ffn_norm", "w_gate", "w_up", "w_down")}  # fmt: skip
        out = np.zeros(x.shape)
        for t, row in enumerate(x.astype(np.float64)):
            h = row / np.sqrt(np.mean(row**2) + model.config.norm_eps) * weights["ffn_norm"]
            for n in range(model.config.hidden_dim):
                if masks[layer, t, n]:
                    gate, up = weights["w_gate"][n] @ h, weights["w_up"][n] @ h
                    out[t] += gate / (1 + np.exp(-gate)) * up * weights["w_down"][:, n]
        return out.astype(np.float32)

    return ffn


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 1])
@pytest.mark.parametrize("T", [1, 4])
def test_kept_neurons_are_those_of_a_slow_twin(share, T):
    model, text = random_model(4), random_text(3, T)
    masks = random_masks(model.config, T, share)
    found = forward(model, text, KVCache(model.config), ffn=kept_by_masks(masks))
    expected = forward(model, text, KVCache(model.config), ffn=slow_feed_forward(masks))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_everything_kept_is_the_whole_model():
    model, text = random_model(2), random_text(1, 9)
    whole = forward(model, text, KVCache(model.config))
    masks = random_masks(model.config, 9, 0)
    found = forward(model, text, KVCache(model.config), ffn=kept_by_masks(masks))
    np.testing.assert_allclose(found, whole, atol=1e-4)


@pytest.mark.parametrize("way", ["oracle", "gate"])
def test_what_a_mask_leaves_out_is_what_its_tap_sets_to_zero(way):
    model, text = random_model(1), random_text(5, 12)
    choice = choose(observe_activations(model, [random_text(6)]), way, 0.6)
    tapped = forward(model, text, KVCache(model.config), tap=MaskTap(choice, model.config))
    masks = neuron_masks(model, text, choice)
    found = forward(model, text, KVCache(model.config), ffn=kept_by_masks(masks))
    np.testing.assert_allclose(found, tapped, atol=1e-4)
    if way == "gate":
        ffn = kept_by_gate(choice)
        found = forward(model, text, KVCache(model.config), ffn=ffn)
        np.testing.assert_allclose(found, tapped, atol=1e-4)


def test_a_tap_sees_the_kept_neurons():
    model, text = random_model(1), random_text(5, 3)
    masks = random_masks(model.config, 3, 0.8)
    shapes = {}

    def see(name, x):
        shapes[name] = x.shape
        return x

    forward(model, text, KVCache(model.config), ffn=kept_by_masks(masks), tap=see)
    n_kept = int(masks[1].any(axis=0).sum())
    assert shapes["layers.1.up"] == shapes["layers.1.activated"] == (3, n_kept)
    assert shapes["layers.1.down"] == (3, model.config.dim)


@pytest.mark.parametrize(
    "change", [lambda m: m[:2], lambda m: m[:, :3], lambda m: m[:, :, :39], lambda m: m * 1.0]
)
def test_masks_of_other_sizes_are_refused(change):
    model, text = random_model(1), random_text(5, 4)
    masks = change(random_masks(model.config, 4, 0.5))
    with pytest.raises(ShapeError, match=r"kept neurons: masks of .* expected bool \(3, 4, 40\)"):
        forward(model, text, KVCache(model.config), ffn=kept_by_masks(masks))


def test_only_the_gate_can_be_asked_by_the_program():
    model = random_model(1)
    activations = observe_activations(model, [random_text(6)])
    for way in ("oracle", "fixed"):
        with pytest.raises(RequestError, match=f"a choice by '{way}', expected one by 'gate'"):
            kept_by_gate(choose(activations, way, 0.5))


def check_pages(path, backend, ffn_of, shares=(0, 0.5, 0.9, 1), allowed=()):
    """The pages of one position and of a chunk: touched, told to the ledger, and by arithmetic."""
    try:
        lab = PageLab.open(path, backend)
    except MeasurementError as refused:
        pytest.skip(str(refused))
    with lab, llama_edu.load(path, lab=lab) as llama:
        config = llama.config
        pages = NeuronPages(lab.tensors, config, lab.page_size, lab.n_pages)
        for share in shares:
            for tokens in ([5], TOKENS):
                masks = random_masks(config, len(tokens), share, seed=len(tokens))
                with lab.record("kept") as record:
                    forward(llama.model, tokens, KVCache(config), ffn=ffn_of(masks))
                if pressed(record.verdict.reasons):
                    pytest.skip(record.verdict.reasons[0])
                assert not (record.predicted & ~record.pages).any()
                if ffn_of is kept_by_masks:
                    needed = pages.needed(masks, tokens).any(axis=0)
                    assert np.array_equal(needed, record.predicted)
                if backend == "private-copy":
                    assert record.verdict.kind == "upper bound"
                else:
                    assert np.array_equal(record.pages, record.predicted)
                    assert record.verdict.kind in ("exact", *allowed)


#: So large that a page is a few rows of each matrix, and a small part of the file.
LARGE = {"dim": 96, "hidden_dim": 416, "n_heads": 6, "n_kv_heads": 2}


@on_linux
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_kept_rows_touch_their_pages_alone(tmp_path, layout, backend):
    plain, made = plain_gguf(tmp_path, "f16", **LARGE), tmp_path / "made.gguf"
    convert(plain, made, to="gguf", layout=layout, order=some_order(2, 416))
    check_pages(made, backend, kept_by_masks,
                allowed=("upper bound",) if backend == "mincore" else ())  # fmt: skip


@on_linux
@pytest.mark.parametrize("kind", ["f32", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_stored_type_in_every_layout_is_predicted(tmp_path, layout, kind):
    plain, made = plain_gguf(tmp_path, kind, tied=True, **LARGE), tmp_path / "made.gguf"
    convert(plain, made, to="gguf", layout=layout, allow_requantize=True)
    check_pages(made, "uffd", kept_by_masks, shares=(0.5, 0.9))


@on_linux
@pytest.mark.parametrize("layout", LAYOUTS)
def test_by_the_gate_w_gate_is_read_in_full(tmp_path, layout):
    plain, made = plain_gguf(tmp_path, "f16", **LARGE), tmp_path / "made.gguf"
    convert(plain, made, to="gguf", layout=layout)
    with llama_edu.load(made) as llama:
        activations = observe_activations(llama.model, [random_text(3)])
    choice = choose(activations, "gate", 0.99)
    check_pages(made, "uffd", lambda masks: kept_by_gate(choice), shares=(0.99,))
    with PageLab.open(made) as lab, llama_edu.load(made, lab=lab) as llama:
        with lab.record("gate") as record:
            forward(llama.model, [5], KVCache(llama.config), ffn=kept_by_gate(choice))
        if record.pages is not None:
            rows = {row.name: row.fraction for row in record.touched.by_tensor()}
            assert rows["layers.1.w_gate"] == 1
            assert layout == "side-by-side" or rows["layers.1.w_up"] < 1


def test_scales_behind_their_numbers_are_refused(tmp_path):
    from helpers.llama2c_v2_by_hand import llama2c_v2
    from helpers.small_models import random_weights, small_config

    config = small_config()
    path = tmp_path / "model_q80.bin"
    path.write_bytes(llama2c_v2(config, random_weights(config, np.random.default_rng(1)), 8)[0])
    with llama_edu.load(path) as llama:
        ffn = kept_by_masks(random_masks(llama.config, 1, 0.5))
        with pytest.raises(RequestError, match="stores its scales behind its numbers"):
            forward(llama.model, [5], KVCache(llama.config), ffn=ffn)
