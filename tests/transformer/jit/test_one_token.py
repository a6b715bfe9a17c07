"""A token as one compiled call against forward(), which defines it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from helpers.mixtral_by_hand import mixtral_config, mixtral_weights
from helpers.random_blocks import random_blocks
from helpers.random_models import random_model, random_text
from helpers.small_models import random_weights, small_config

import llama_edu
from llama_edu.convert import convert
from llama_edu.errors import NumericalError, RequestError
from llama_edu.matmul.arithmetic import rounded_matmul
from llama_edu.matmul.product import matmul
from llama_edu.pages.lab import PageLab
from llama_edu.rope import rope_frequencies
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import Model, forward

pytest.importorskip("numba")

from llama_edu.matmul.jit import product
from llama_edu.matmul.jit.int8 import instructions
from llama_edu.matmul.jit.int8 import product as int8_product
from llama_edu.transformer.jit.one_token import one_token_of

TOKENS = [1, 17, 203, 4, 99, 5, 270, 31]


def stored_model(type_name: str, seed: int = 0, **changes) -> Model:
    """A model of 256 columns and more, all of whose matrices are of one stored type."""
    sizes = {"dim": 256, "hidden_dim": 512, "n_heads": 8, "n_kv_heads": 2, "head_dim": 32} | changes
    config = small_config(**sizes)
    weights = random_weights(config, np.random.default_rng(seed))
    for i, (name, w) in enumerate(weights.items()):
        if w.ndim == 2:
            weights[name] = random_blocks(type_name, *w.shape, seed=seed + i)
            if type_name in ("f16", "bf16"):  # of the size of those made of blocks
                scaled = (w / 2).astype(np.float16)
                weights[name] = scaled if type_name == "f16" else weights[name]
    return Model(config, weights, rope_frequencies(config))


def differences(model: Model, tokens=TOKENS, arithmetic: str = "float32", threads: int = 2):
    """For each token after those before it: the largest difference, of the largest logit."""
    expected_of = replace(model, matmul=rounded_matmul(matmul, arithmetic))
    one_token = one_token_of(replace(model, threads=threads), arithmetic)
    clear, compiled = (KVCache(model.config, len(tokens) + 3 * i) for i in (0, 1))
    found = []
    for token in tokens:
        compiled.copy_from(clear, clear.length)
        logits = one_token(token, compiled)
        expected = forward(expected_of, [token], clear)[0]
        assert logits.shape == expected.shape and logits.dtype == np.float32
        assert compiled.length == clear.length
        found.append(np.abs(logits - expected).max() / np.abs(expected).max())
        for ours, theirs in ((compiled.keys, clear.keys), (compiled.values, clear.values)):
            last = clear.length - 1
            np.testing.assert_allclose(
                ours[:, :, last], theirs[:, :, last], rtol=0, atol=2e-2 * np.abs(theirs).max()
            )
    return found


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("seed", range(6))
def test_it_equals_forward(seed, threads):
    assert max(differences(random_model(seed), random_text(seed), threads=threads)) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"head_dim": 34, "n_heads": 4, "n_kv_heads": 1},
        {"dim": 40, "hidden_dim": 24, "n_heads": 5, "n_kv_heads": 5},
        {"activation": "relu"},
        {"dim": 72, "hidden_dim": 1100, "vocab_size": 3001},
    ],
)
def test_sizes_that_fill_no_lane_and_no_piece(changes):
    assert max(differences(random_model(1, **changes))) < 1e-5


@pytest.mark.parametrize(
    "type_name", ["f16", "bf16", *sorted(set(product.TYPES) - {"f16", "bf16"})]
)
def test_every_type_with_a_float_loop(type_name):
    assert max(differences(stored_model(type_name))) < 1e-5


@pytest.mark.parametrize("type_name", ["f16", "bf16", *int8_product.TYPES])
def test_every_type_in_int8(type_name):
    """A number between two codes may be rounded the other way, which shows in the scores.

    Of the 2,048 codes of f16, some number is always that near.
    """
    if instructions.host_instructions() is None:
        pytest.skip("no 8-bit instructions on this processor")
    found = sorted(differences(stored_model(type_name), arithmetic="int8"))
    assert found[2] < (1e-3 if type_name == "f16" else 1e-5) and found[-1] < 5e-2


@pytest.mark.parametrize("activation", ["silu", "relu"])
@pytest.mark.parametrize("used", [1, 2, 5])
@pytest.mark.parametrize("threads", [1, 3])
def test_experts(used, activation, threads):
    config = mixtral_config(n_experts_per_token=used, activation=activation)
    model = Model(config, mixtral_weights(config), rope_frequencies(config))
    assert max(differences(model, threads=threads)) < 1e-5


def test_threads_that_choose_experts_at_once_choose_the_same():
    config = mixtral_config(n_experts_per_token=5)
    model = Model(config, mixtral_weights(config), rope_frequencies(config))
    for _ in range(30):
        assert max(differences(model, TOKENS[:4], threads=3)) < 1e-5


def test_of_equally_likely_experts_the_first_compute_the_token():
    config = mixtral_config()
    weights = mixtral_weights(config)
    for layer in range(config.n_layers):
        weights[f"layers.{layer}.router"] = np.zeros_like(weights[f"layers.{layer}.router"])
    assert max(differences(Model(config, weights, rope_frequencies(config)))) < 1e-5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_router_that_cannot_choose_is_the_error_of_forward(value):
    config = mixtral_config()
    weights = mixtral_weights(config)
    weights["layers.1.router"] = weights["layers.1.router"].copy()
    weights["layers.1.router"][2, 3] = value
    model = Model(config, weights, rope_frequencies(config))
    cache = KVCache(config, 9)
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(NumericalError, match=r"layers\.1\.router"),
    ):
        one_token_of(model, "float32")(7, cache)


def test_a_weight_that_is_no_number_shows_in_the_scores():
    model = random_model(0)
    w = model.weights["layers.1.w_up"].copy()
    w[3, 5] = np.nan
    model = replace(model, weights={**model.weights, "layers.1.w_up": w})
    assert np.isnan(one_token_of(model, "float32")(7, KVCache(model.config, 9))).all()


def test_long_texts_several_caches_and_going_back():
    model = random_model(3)
    one_token = one_token_of(replace(model, threads=2), "float32")
    text = random_text(3, 50)
    expected = forward(model, text, KVCache(model.config))
    short, long = KVCache(model.config, 20), KVCache(model.config)
    for i, token in enumerate(text):
        if i < 20:
            np.testing.assert_allclose(one_token(token, short), expected[i], rtol=0, atol=1e-4)
        np.testing.assert_allclose(one_token(token, long), expected[i], rtol=0, atol=1e-4)
    long.truncate(7)
    np.testing.assert_allclose(one_token(text[7], long), expected[7], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(long.keys[:, :, :7], long.keys[:, :, :7])
    with pytest.raises(RequestError, match="context: 21 positions"):
        one_token(5, short)
    with pytest.raises(RequestError, match="id 271 at position 0"):
        one_token(271, long)


def test_logits_are_new_each_time():
    model = random_model(1)
    one_token, cache = one_token_of(model, "float32"), KVCache(model.config)
    first = one_token(5, cache)
    kept = first.copy()
    assert not np.array_equal(one_token(6, cache), kept)
    assert np.array_equal(first, kept)


def test_two_threads_of_a_program_may_generate_at_once():
    model = replace(random_model(2), threads=2)
    one_token = one_token_of(model, "float32")
    texts = [random_text(seed, 40) for seed in range(3)]
    together = threading.Barrier(3)

    def last_scores(text):
        cache = KVCache(model.config)
        together.wait()
        return [one_token(token, cache) for token in text][-1]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(last_scores, texts))
    for text, scores in zip(texts, found, strict=True):
        expected = forward(model, text, KVCache(model.config), last_only=True)[0]
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)


def test_no_other_thread_can_enter_a_new_team_first():
    model = random_model(1)
    one_token = one_token_of(model, "float32")

    class Seen(list):
        def append(self, team):
            assert not team.try_to_enter()  # what another thread would do that finds it
            super().append(team)

    one_token._teams = Seen()
    one_token(5, KVCache(model.config))
    assert len(one_token._teams) == 1


def test_helpers_end_with_the_model():
    gc.collect()
    before = set(threading.enumerate())
    model = replace(random_model(2), threads=3)
    one_token = one_token_of(model, "float32")
    one_token(5, KVCache(model.config))
    helpers = [t for t in threading.enumerate() if t not in before]
    assert [t.name for t in helpers] == ["llama-edu-token-1", "llama-edu-token-2"]
    del one_token, model
    gc.collect()
    for helper in helpers:
        helper.join(10)
        assert not helper.is_alive()


def test_what_only_forward_can_compute_is_left_to_it(tmp_path):
    model = random_model(1)
    swapped = {**model.weights, "layers.0.wq": model.weights["layers.0.wq"].astype(">f4")}
    strided = {**model.weights, "layers.0.wq": np.asfortranarray(model.weights["layers.0.wq"])}
    for weights in (swapped, strided):
        assert one_token_of(replace(model, weights=weights), "float32") is None
    assert one_token_of(stored_model("iq4_nl"), "float32") is None
    assert one_token_of(model, "int4") is None
    path = tmp_path / "stories.gguf"
    convert(llama_edu.bundled_checkpoint(), path, to="gguf")
    with llama_edu.load(path, kernels="jit") as llama:
        assert llama.model.one_token is not None
    with PageLab.open(path) as lab, llama_edu.load(path, kernels="jit", lab=lab) as llama:
        assert llama.model.one_token is None
    with llama_edu.load(path, kernels="numpy") as llama:
        assert llama.model.one_token is None


def test_norms_of_another_type_are_copied_and_stay():
    model = random_model(0)
    halves = {n: w.astype(np.float16) if w.ndim == 1 else w for n, w in model.weights.items()}
    one_token = one_token_of(replace(model, weights=halves), "float32")
    gc.collect()
    expected = forward(replace(model, weights=halves), [5], KVCache(model.config))[0]
    np.testing.assert_allclose(one_token(5, KVCache(model.config)), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("type_name", ["keep", "q8_0", "q4_0"])
def test_greedy_text_is_that_of_forward(tmp_path, type_name):
    path = tmp_path / "stories.gguf"
    convert(llama_edu.bundled_checkpoint(), path, to="gguf", type=type_name)
    texts = []
    for kernels in ("numpy", "jit"):
        with llama_edu.load(path, kernels=kernels, arithmetic="float32") as llama:
            texts.append(str(llama.generate("One day", n_tokens=150, temperature=0)))
    assert len(texts[0]) > 300 and texts[0] == texts[1]


def test_a_closed_model_says_so():
    llama = llama_edu.load(llama_edu.bundled_checkpoint(), kernels="jit")
    tokens = iter(llama.generate_tokens("Once", n_tokens=9, seed=1))
    next(tokens)
    next(tokens)
    llama.close()
    with pytest.raises(RequestError, match="is closed"):
        next(tokens)


PROGRAM = """
import os, sys
import llama_edu
with llama_edu.load(llama_edu.bundled_checkpoint(), kernels="jit", threads=2) as llama:
    def text():
        return str(llama.generate("Once", n_tokens=30, temperature=0))
    expected = text()
    child = os.fork()
    if child == 0:
        os._exit(0 if text() == expected else 3)
    assert os.waitpid(child, 0)[1] == 0
    assert text() == expected
print("equal")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_generates_as_its_parent_does():
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("equal\n", 0), done.stderr
