"""Neurons against pages: each layout's line, its floor, and the naive reading."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import slimmer_records as made

from llama_edu.errors import RequestError

pytest.importorskip("matplotlib")
from llama_edu.show.figures.slimmer.neuron_pages import neuron_pages_caption, neuron_pages_figure

FOUND = made.neurons_and_pages(
    [
        made.layout("rows", False, (0.95, 0.8)),
        made.layout("side-by-side", True, (0.9, 0.5)),
        made.layout("side-by-side", True, (0.91, 0.55), down_type="q8_0"),
    ]
)


def test_each_layout_is_a_line_from_its_floor_over_what_was_really_kept():
    figure = neuron_pages_figure(FOUND)
    (axes,) = figure.figure.axes
    lines = {line.get_label(): line.get_data() for line in axes.lines}
    x, y = lines["as in every file today"]
    np.testing.assert_allclose(x, [0, 0.11, 0.51])
    np.testing.assert_allclose(y, [0.25, 0.8, 0.95])
    np.testing.assert_allclose(lines["if neurons were pages"], [[0, 1], [0, 1]])
    side = "gate, up and down of a neuron side by side, hot neurons first"
    np.testing.assert_allclose(lines[side][1], [0.25, 0.5, 0.9])  # one line, of the first type
    heights = [text.xy[1] for text in axes.texts]
    assert heights == [0.25, 1 / 12]
    assert axes.get_title("left") == r"a \$file\$.gguf"


def test_its_texts_have_the_numbers_and_what_an_oracle_is():
    figure = neuron_pages_figure(FOUND)
    assert "as in every file today: 0.95 at 0.51, 0.80 at 0.11" in figure.alt
    assert (
        "the floor at 0.25, one twelfth at 0.083" in figure.alt and "interrupted" not in figure.alt
    )
    said = neuron_pages_caption(FOUND)
    assert "computes 0.11 of the neurons touches 0.80 of the pages as in every file today" in said
    assert "told by an oracle, which no program has" in said
    assert "interrupted" in neuron_pages_figure(replace(FOUND, cut_short=True)).alt


def test_without_a_layout_there_is_nothing_to_draw():
    with pytest.raises(RequestError, match="no layout was measured"):
        neuron_pages_figure(replace(FOUND, layouts=()))
