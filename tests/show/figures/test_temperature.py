"""The figure of one distribution at several temperatures: bars, text, bytes."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.tiny import open_tiny

from llama_edu.show.figures.temperature import likeliest, temperature_figure

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3], np.float32))


def test_probabilities_follow_the_formula():
    ids, rows = likeliest(LOGITS, [0.5, 1.0], n=3)
    assert ids.tolist() == [1, 3, 2]
    np.testing.assert_allclose(rows[1], [0.4, 0.3, 0.2], rtol=1e-5)
    squares = np.array([0.4, 0.3, 0.2]) ** 2  # temperature 0.5 squares the probabilities
    np.testing.assert_allclose(rows[0], squares / (squares.sum() + 0.1**2), rtol=1e-5)


def test_a_lower_temperature_gives_more_to_the_likeliest(rng):
    _, rows = likeliest(rng.standard_normal(50).astype(np.float32), [0.2, 0.7, 1.0, 1.6])
    assert np.all(np.diff(rows[:, 0]) < 0)
    assert np.all(np.diff(rows, axis=1) <= 0)


def test_the_bars_are_the_probabilities_and_the_words_say_them(tmp_path, rng):
    pytest.importorskip("matplotlib")
    with open_tiny(tmp_path, rng) as llama:
        logits = llama.logits([1, 5, 9])[-1]
        drawn = temperature_figure(logits, llama.tokenizer, temperatures=(0.5, 2.0))
    ids, rows = likeliest(logits, (0.5, 2.0))
    axes = drawn.figure.axes[0]
    for container, row in zip(axes.containers, rows, strict=True):
        np.testing.assert_allclose([bar.get_height() for bar in container], row)
    assert len(axes.get_xticklabels()) == len(ids)
    assert f"{rows[0, 0]:.2f} at 0.5, {rows[1, 0]:.2f} at 2" in drawn.alt
    assert repr(drawn) == drawn.alt


def test_a_notebook_gets_the_same_png_twice_and_the_words_beside_it(tmp_path, rng):
    pytest.importorskip("matplotlib")
    with open_tiny(tmp_path, rng) as llama:
        logits = llama.logits([1, 5])[-1]
        one, two = (temperature_figure(logits, llama.tokenizer) for _ in range(2))
    assert one.png() == two.png()
    assert one.png().startswith(b"\x89PNG") and len(one.png()) < 100_000
    data, metadata = one._repr_mimebundle_()
    assert data["text/plain"] == metadata["image/png"]["alt"] == one.alt
