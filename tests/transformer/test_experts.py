"""Mixtures of experts: beside the slow twin, by every body of the product, and what is not read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import reference
from helpers.mixtral_by_hand import LAYOUTS, mixtral_config, mixtral_weights, write_gguf

from llama_edu.errors import NumericalError
from llama_edu.loading import load
from llama_edu.rope import rope_frequencies
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.experts import choices, choose, mixture, positions_of, shares_of
from llama_edu.transformer.model import Model, forward

TOKENS = [1, 17, 203, 4, 99, 5, 270]


class Names:
    """An AccessLog that keeps names."""

    def __init__(self):
        self.read = []

    def whole(self, name):
        self.read.append(name)

    def rows(self, name, ids):
        self.read.append(name)


def model_of(config, weights=None, **changes) -> Model:
    weights = mixtral_weights(config) if weights is None else weights
    return Model(config, weights, rope_frequencies(config), **changes)


def logits_of(model, tokens=TOKENS, **changes):
    return forward(model, tokens, KVCache(model.config, len(tokens)), **changes)


@pytest.mark.parametrize("activation", ["silu", "relu"])
@pytest.mark.parametrize("used", [1, 2, 3, 5])
def test_the_fast_way_agrees_with_the_slow_twin(used, activation):
    config = mixtral_config(n_experts_per_token=used, activation=activation)
    model = model_of(config)
    slow = reference.forward(config, model.weights, TOKENS)
    np.testing.assert_allclose(logits_of(model), slow, rtol=0, atol=3e-5 * np.abs(slow).max())


def test_the_twin_notices_shares_that_are_not_divided_by_their_sum():
    model, found = model_of(mixtral_config()), {}

    def undivided(name, x):
        if name.endswith(".router"):
            found["p"] = x.copy()
        if name.endswith(".shares"):
            return np.take_along_axis(found["p"], choose(found["p"], 2, ""), axis=1)
        return x

    slow = reference.forward(model.config, model.weights, TOKENS)
    wrong = np.abs(logits_of(model, tap=undivided) - slow).max()
    assert wrong > 0.01 * np.abs(slow).max()


def test_one_token_at_a_time_is_the_same():
    model = model_of(mixtral_config())
    cache = KVCache(model.config, len(TOKENS))
    found = np.concatenate([forward(model, [token], cache) for token in TOKENS])
    whole = logits_of(model)
    np.testing.assert_allclose(found, whole, rtol=0, atol=2e-6 * np.abs(whole).max())


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("settings", [{"kernels": "numpy"}, {"kernels": "jit"}, {"threads": 2}])
def test_every_body_of_the_product_computes_experts(tmp_path, layout, settings):
    if settings.get("kernels") == "jit":
        pytest.importorskip("numba")
    config = mixtral_config(dim=48, hidden_dim=64)
    weights = {n: x.astype(np.float16) if x.ndim == 2 and "router" not in n else x
               for n, x in mixtral_weights(config).items()}  # fmt: skip
    path = write_gguf(tmp_path, config, weights, layout)
    slow = reference.forward(config, weights, TOKENS)
    scale = np.abs(slow).max()
    with load(path, **settings) as llama:
        np.testing.assert_allclose(llama.logits(TOKENS), slow, rtol=0, atol=3e-5 * scale)
        cache = KVCache(llama.config, 9)
        for t, token in enumerate(TOKENS):
            found = forward(llama.model, [token], cache)
            np.testing.assert_allclose(found[0], slow[t], rtol=0, atol=3e-5 * scale)
    with load(path, kernels="numpy", arithmetic="int8") as llama:
        gap = np.abs(llama.logits(TOKENS) - slow).max()
        assert 1e-5 * scale < gap < 0.1 * scale  # activations were rounded to 16 bits, not more


def test_only_the_chosen_experts_are_read_and_told():
    log = Names()
    model = model_of(mixtral_config(), log=log)
    routed = {}

    def watch(name, x):
        if name.endswith("router"):
            routed[name] = x.copy()
        return x

    logits_of(model, [17], tap=watch)
    found = choices(routed, model.config)
    assert found.experts.shape == found.shares.shape == (3, 1, 2)
    expected = {
        f"layers.{layer}.experts.{expert}.{kind}"
        for layer in range(3)
        for expert in found.experts[layer, 0]
        for kind in ("w_gate", "w_up", "w_down")
    }
    assert {name for name in log.read if ".experts." in name} == expected
    assert len([name for name in log.read if ".experts." in name]) == len(expected)
    assert {f"layers.{layer}.router" for layer in range(3)} <= set(log.read)


def test_weights_of_experts_that_are_not_chosen_do_not_matter():
    model = model_of(mixtral_config())
    log = Names()
    first = logits_of(replace(model, log=log), [17])
    unread = {
        name: np.full_like(x, np.nan) if ".experts." in name and name not in log.read else x
        for name, x in model.weights.items()
    }
    assert sum(np.isnan(x).any() for x in unread.values()) == 3 * 3 * 3
    assert np.array_equal(logits_of(replace(model, weights=unread), [17]), first)


def test_each_expert_computes_only_its_positions():
    widths = []

    def counting(x, w, threads):
        if w.shape == (40, 24):
            widths.append(len(x))
        return x @ w.T

    logits_of(model_of(mixtral_config(), matmul=counting))
    assert sum(widths) == 2 * 3 * 2 * len(TOKENS)  # gate and up, layers, experts of each token
    assert max(widths) < len(TOKENS)


# --- choosing -----------------------------------------------------------------------------------


def test_the_likeliest_are_chosen_and_listed_by_number():
    p = np.array([[0.1, 0.4, 0.2, 0.3], [0.7, 0.1, 0.15, 0.05]], np.float32)
    assert choose(p, 2, "r").tolist() == [[1, 3], [0, 2]]
    assert choose(p, 4, "r").tolist() == [[0, 1, 2, 3]] * 2
    np.testing.assert_allclose(
        shares_of(p, choose(p, 2, "r")), [[4 / 7, 3 / 7], [0.7 / 0.85, 0.15 / 0.85]], rtol=1e-6
    )


def test_of_equals_the_lower_number_is_chosen():
    p = np.array([[0.2, 0.2, 0.2, 0.2, 0.2], [0.1, 0.3, 0.3, 0.0, 0.3]], np.float32)
    assert choose(p, 2, "r").tolist() == [[0, 1], [1, 2]]
    many = np.tile(np.array([0.002, 0.004], np.float32), (1, 150))  # few are sorted otherwise
    assert choose(many, 3, "r").tolist() == [[1, 3, 5]]


def test_where_an_expert_is_needed_is_listed():
    found = positions_of(np.array([[0, 3], [1, 3], [0, 1]]))
    assert [(e, at[0].tolist(), at[1].tolist()) for e, at in found] == [
        (0, [0, 2], [0, 0]), (1, [1, 2], [0, 1]), (3, [0, 1], [1, 1]),
    ]  # fmt: skip


def test_choices_say_what_a_part_of_a_text_needs():
    config = mixtral_config(n_layers=1)
    p = np.array([[0.5, 0.3, 0.1, 0.1, 0], [0.5, 0.1, 0.1, 0.3, 0], [0, 0, 0, 0.4, 0.6]], "f4")
    found = choices({"layers.0.router": p}, config)
    assert found.experts.tolist() == [[[0, 1], [0, 3], [3, 4]]]
    np.testing.assert_allclose(found.shares[0, 2], [0.4, 0.6], rtol=1e-6)
    assert found.used().tolist() == [[True, True, False, True, True]]
    assert found.used(slice(0, 1)).tolist() == [[True, True, False, False, False]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_router_that_is_not_finite_is_an_error_that_says_where(value):
    config = mixtral_config()
    weights = mixtral_weights(config)
    weights["layers.1.router"][3, 7] = value
    model = model_of(config, weights)
    says = r"layers\.1\.router: scores of 7 of 7 positions .* first is number 0, exp"
    with pytest.raises(NumericalError, match=says), np.errstate(invalid="ignore"):
        logits_of(model)


def test_a_position_that_is_not_finite_is_named():
    p = np.full((4, 5), 0.2, np.float32)
    p[2, 1] = np.nan
    with pytest.raises(NumericalError, match=r"router: scores of 1 of 4 .* number 2, "):
        choose(p, 2, "layers.0.router")


def test_a_text_ends_with_that_error_on_the_command_line(tmp_path, run_cli):
    config = mixtral_config()
    weights = mixtral_weights(config)
    weights["layers.2.router"][:] = np.nan
    path = write_gguf(tmp_path, config, weights, "one tensor")
    out = ["--out", tmp_path / "x.npy"]
    for command in (["logits", path, "--tokens", "1,2", *out], ["generate", path, "--prompt", "a"]):
        code, _, err = run_cli(*command)
        assert code == 2 and "layers.2.router: scores of " in err


def test_a_tap_that_changes_the_probabilities_changes_the_choice():
    log = Names()
    model = model_of(mixtral_config(), log=log)

    def last_two(name, x):
        return np.array([[0, 0, 0, 0.25, 0.75]], "f4") if name.endswith("router") else x

    logits_of(model, [17], tap=last_two)
    assert {name.split(".")[3] for name in log.read if ".experts." in name} == {"3", "4"}


def test_another_feed_forward_takes_its_place():
    model = model_of(mixtral_config())
    seen = []

    def watched(model, layer, x, see):
        seen.append(layer)
        return mixture(model, layer, x, see)

    assert np.array_equal(logits_of(model, ffn=watched), logits_of(model))
    assert seen == [0, 1, 2]
