"""The figures of notebook 03: what is drawn is what was computed, and the words say it."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.small_models import small_config

from llama_edu.errors import RequestError
from llama_edu.transformer.work import cache_saving

pytest.importorskip("matplotlib")
from llama_edu.show.figures.generation.attention import attention_figure
from llama_edu.show.figures.generation.cache import cache_figure
from llama_edu.show.figures.generation.lens import lens_figure
from llama_edu.show.figures.generation.turning import turning_figure


def causal(n, rng):
    weights = np.tril(rng.random((n, n)))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def test_a_map_of_attention_is_stronger_where_more_is_looked(rng):
    weights, labels = causal(7, rng), [f"␣w{i}" for i in range(7)]
    weights[-1] = [0, 0, 0.98, 0, 0.02, 0, 0]
    drawn = attention_figure(weights, labels, "layer 2, head 1")
    axes = drawn.figure.axes[0]
    opacity = np.asarray(axes.images[0].get_array())[..., 3]
    assert opacity.shape == (7, 7)
    order = np.argsort(weights, axis=None, kind="stable")
    assert np.all(np.diff(opacity.ravel()[order]) >= 0)
    assert np.all(opacity[np.triu_indices(7, 1)] == 0)  # the future cannot be seen
    assert [text.get_text() for text in axes.get_yticklabels()] == labels
    assert "98.0 % of its attention to ␣w2, token 2 of 7" in drawn.alt
    assert "layer 2, head 1" in drawn.alt
    assert any(text.get_text() == "98.0 %" for text in axes.texts)
    assert drawn.png()


def test_labels_from_a_vocabulary_begin_no_formula(rng):
    drawn = attention_figure(causal(3, rng), ["$x$", "\x1b[31m", ""])
    labels = [text.get_text() for text in drawn.figure.axes[0].get_xticklabels()]
    assert labels[0] == r"\$x\$" and "\x1b" not in labels[1]
    assert drawn.png()


@pytest.mark.parametrize(("shape", "n"), [((3, 4), 3), ((3, 3), 4), ((0, 0), 0), ((49, 49), 49)])
def test_a_map_that_cannot_be_labeled_is_refused(shape, n):
    with pytest.raises(RequestError, match="T from 1 to 48; take a part of a longer text"):
        attention_figure(np.zeros(shape, np.float32), ["a"] * n)


def test_the_bars_of_the_lens_are_the_probabilities():
    favorites = [(1, "s", 0.5), (4, "$the", 0.25), (9, "␣Finn", 0.9999)]
    drawn = lens_figure(favorites)
    axes = drawn.figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.25, 0.9999]
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        "1 layer", "4 layers", "9 layers",
    ]  # fmt: skip
    assert axes.texts[1].get_text() == r"\$the  25.0 %"
    assert drawn.alt.endswith("after 1, s with 50.0 %; after 4, $the with 25.0 %; after 9, "
                              "␣Finn with 100 %.")  # fmt: skip


def test_a_dial_shows_the_angle_of_its_pair_at_its_position():
    frequencies = np.array([np.pi / 2, 0.1, 0.05, 0.01])
    drawn = turning_figure(frequencies, n_positions=4)
    hands = [line for line in drawn.figure.axes[0].lines if line.get_linewidth() == 2]
    assert len(hands) == 4 * 4  # pairs 0, 1, 2 and 3
    for number, hand in enumerate(hands):
        row, position = divmod(number, 4)
        (x0, x1), (y0, y1) = hand.get_data()
        assert (x0, y0) == (position, row)
        angle = np.arctan2(y0 - y1, x1 - x0)  # y grows downward
        assert np.isclose(np.exp(1j * angle), np.exp(1j * frequencies[row] * position))
    assert "pair 0 once around in 4 positions" in drawn.alt


def test_a_head_of_one_pair_has_one_row_and_none_is_refused():
    assert turning_figure(np.array([1.0])).alt.count("pair") == 1
    with pytest.raises(RequestError, match="0 frequencies and 12 positions, expected at least"):
        turning_figure(np.array([]))
    with pytest.raises(RequestError, match="1 frequencies and 1 positions"):
        turning_figure(np.array([1.0]), 1)


def test_the_curve_is_the_arithmetic_and_the_marks_are_the_times():
    config = small_config()
    drawn = cache_figure(config, {2: 1.5, 20: 4.0, 40: 7.0})
    work, times = drawn.figure.axes[0].lines
    for length, ratio in zip(*work.get_data(), strict=True):
        assert ratio == cache_saving(config, int(length))
    assert [list(numbers) for numbers in times.get_data()] == [[2, 20, 40], [1.5, 4.0, 7.0]]
    assert f"{cache_saving(config, 40):.0f} at 40 positions" in drawn.alt
    assert "4.0" not in drawn.alt and "at 2, 20, 40 positions" in drawn.alt  # differs by machine
