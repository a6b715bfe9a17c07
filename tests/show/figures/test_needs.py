"""What one token needs, by kind of weight, and tables whose lines stay whole."""

from __future__ import annotations

import pytest
from helpers.mixtral_by_hand import mixtral_config, mixtral_weights, write_gguf
from helpers.tiny import open_tiny

from llama_edu.loading import load
from llama_edu.show.figures.needs import needs_by_kind, needs_figure
from llama_edu.show.text.wide import wide


def test_a_token_needs_all_but_the_other_rows_of_the_table(tmp_path, rng):
    llama = open_tiny(tmp_path, rng)
    needs, config = needs_by_kind(llama), llama.config
    there = sum(weight.nbytes for weight in llama.weights.values())
    assert sum(b for _, b in needs.values()) == there
    row = 4 * config.dim
    assert needs.pop("embedding table") == (row, config.vocab_size * row)
    assert all(needed == there for needed, there in needs.values())
    ffn = 3 * config.n_layers * config.dim * config.hidden_dim * 4
    assert needs["feed-forward"] == (ffn, ffn)
    assert needs["norms"][1] == (2 * config.n_layers + 1) * row
    assert set(needs) == {"norms", "attention", "feed-forward", "output"}


def test_of_the_experts_a_token_needs_those_that_are_chosen(tmp_path):
    config = mixtral_config()
    path = write_gguf(tmp_path, config, mixtral_weights(config), "one tensor")
    with load(path) as llama:
        needs = needs_by_kind(llama)
    experts = 3 * 5 * 3 * 24 * 40 * 4
    assert needs["experts"] == (experts * 2 // 5, experts)
    assert needs["routers of experts"] == (3 * 5 * 24 * 4, 3 * 5 * 24 * 4)
    assert set(needs) == {
        "norms", "attention", "experts", "routers of experts", "output", "embedding table"
    }  # fmt: skip


def test_a_tied_table_is_needed_as_a_whole(tmp_path, rng):
    llama = open_tiny(tmp_path, rng)
    llama.weights = {n: w for n, w in llama.weights.items() if n != "output"}
    needed, there = needs_by_kind(llama)["embedding table"]
    assert needed == there > 0


def test_the_bars_are_as_long_as_the_bytes(tmp_path, rng):
    pytest.importorskip("matplotlib")
    llama = open_tiny(tmp_path, rng)
    drawn = needs_figure(llama)
    (axes,) = drawn.figure.axes
    kinds = [label.get_text() for label in axes.get_yticklabels()]
    needed, rest = ([bar.get_width() for bar in part] for part in axes.containers)
    for kind, a, b in zip(kinds, needed, rest, strict=True):
        expected = needs_by_kind(llama)[kind]
        assert (a * 1e6, (a + b) * 1e6) == pytest.approx(expected)
        assert f"{kind} {expected[0]:,} of {expected[1]:,} bytes" in drawn.alt


def test_a_wide_table_is_the_text_and_its_markup_is_escaped():
    table = wide("a   <b>\nc   d")
    assert repr(table) == "a   <b>\nc   d"
    assert "a   &lt;b&gt;\nc   d" in table._repr_html_() and "white-space: pre;" in (
        table._repr_html_()
    )
    assert wide(None) is None
