"""The tap sees every step under its name and in its shape, and what it returns goes on."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

from llama_edu.errors import RequestError
from llama_edu.transformer.cache import KVCache
from llama_edu.transformer.model import forward
from llama_edu.transformer.tap import step_names, step_shape, steps_table

TOKENS = random_text(0, 7)


def logits_with(tap, model=None, tokens=TOKENS):
    model = model or random_model(0)
    return forward(model, tokens, KVCache(model.config), tap=tap)


def change(step, edit):
    """A tap that edits a copy of one step."""
    return lambda name, x: edit(x.copy()) if name == step else x


def test_every_step_is_seen_once_in_order_and_in_its_documented_shape():
    model, seen = random_model(0), []

    def tap(name, x):
        assert x.dtype == np.float32 and x.flags.c_contiguous
        seen.append((name, x.shape))
        return x

    logits_with(tap, model)
    config = model.config
    assert [name for name, _ in seen] == step_names(config.n_layers)
    assert seen == [(name, step_shape(name, config, len(TOKENS))) for name, _ in seen]
    assert len(set(seen)) == 3 * 17 + 3


@pytest.mark.parametrize("n_tokens", [1, 7, 33])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_tap_that_only_looks_changes_no_bit(n_tokens, threads):
    from dataclasses import replace

    model, tokens = replace(random_model(1), threads=threads), random_text(1, n_tokens)
    plain = logits_with(None, model, tokens)
    np.testing.assert_array_equal(logits_with(lambda name, x: x, model, tokens), plain)


def test_the_tap_runs_during_decoding_too_where_scores_see_all_earlier_positions():
    model, shapes = random_model(1), []
    cache = KVCache(model.config)
    forward(model, TOKENS, cache)

    def tap(name, x):
        if name == "layers.2.scores":
            shapes.append(x.shape)
        return x

    forward(model, [9], cache, last_only=True, tap=tap)
    assert shapes == [(6, 1, 8)]


def test_what_every_step_returns_is_what_the_computation_goes_on_with():
    plain = logits_with(None)
    for step in step_names(3):
        edited = logits_with(change(step, lambda x: x * (1 + np.arange(x.shape[-1]))))
        assert np.abs(edited - plain).max() > 1e-3, step


def test_an_ablated_head_is_a_head_whose_values_are_zero():
    model = random_model(1)
    hd, head = model.config.head_dim, 4

    def in_mixed(x):
        x[:, head * hd : (head + 1) * hd] = 0
        return x

    def in_weights(x):
        x[head] = 0
        return x

    a = logits_with(change("layers.1.mixed", in_mixed), model)
    b = logits_with(change("layers.1.weights", in_weights), model)
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - logits_with(None, model)).max() > 1e-3


def test_a_position_patched_into_another_run_gives_that_runs_future():
    """The whole residual stream of one layer, at all positions, decides what follows."""
    model, other, kept = random_model(0), random_text(5, 7), {}

    def keep(name, x):
        kept[name] = x.copy()
        return x

    expected = logits_with(keep, model, other)
    patched = logits_with(
        lambda name, x: kept[name] if name == "layers.1.out" else x, model, TOKENS
    )
    np.testing.assert_array_equal(patched, expected)


def test_scores_may_be_changed_in_place_and_a_kept_array_is_not_overwritten():
    model, kept = random_model(0), {}

    def tap(name, x):
        kept[name] = x
        return x

    logits_with(tap, model)
    scores = kept["layers.0.scores"]
    assert np.isneginf(scores[:, 0, 1:]).all() and scores[:, -1].max() != 1


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (lambda x: None, "NoneType"),
        (lambda x: x[:-1], r"shape \(6, 24\)"),
        (lambda x: x.tolist(), "list"),
    ],
)
def test_a_tap_that_returns_no_such_array_is_told_so(returned, found):
    with pytest.raises(RequestError, match=f"returned {found} for embedding, expected an array"):
        logits_with(lambda name, x: returned(x))


def test_float64_from_a_tap_does_not_spread():
    assert logits_with(lambda name, x: x.astype(np.float64)).dtype == np.float32


def test_a_tap_may_return_an_array_that_is_not_contiguous():
    def backwards(name, x):
        return np.asfortranarray(x)

    np.testing.assert_array_equal(logits_with(backwards), logits_with(None))


def test_the_table_names_every_step_with_its_names_elsewhere():
    text = steps_table()
    for word in ("layers.N.q_rope", "self_attn.o_proj", "ffn_inp", "(T, n_kv_heads, head_dim)"):
        assert word in text
