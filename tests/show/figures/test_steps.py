"""Figures of steps draw what was measured, and say it in words."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.random_models import random_model, random_text

from llama_edu.errors import RequestError
from llama_edu.reconcile.bugs import plant
from llama_edu.reconcile.detective import ALARM, reconcile
from llama_edu.reconcile.inside import LogitLens, moves, sizes
from llama_edu.reconcile.reference import float64_reference
from llama_edu.reconcile.trace import trace

pytest.importorskip("matplotlib")
from llama_edu.show.figures.steps import (
    attention_figure,
    cliffs_figure,
    errors_figure,
    lens_figure,
    residual_figure,
)

TOKENS = random_text(1, 9)


@pytest.fixture(scope="module")
def model():
    return random_model(1)


def report_of(model, tap=None, tokens=TOKENS):
    reference = float64_reference(random_model(1), TOKENS)
    return reconcile(trace(model, tokens, tap=tap), tuple(tokens), reference)


def test_a_model_without_a_bug_is_a_flat_line(model):
    drawn = errors_figure(report_of(model))
    (axes,) = drawn.figure.axes
    median = axes.lines[0].get_ydata()
    assert len(median) == 54 and max(median) < 1e-5 and axes.get_yscale() == "log"
    assert "a flat line" in drawn.alt and "54 steps" in drawn.alt
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2"]


def test_a_bug_is_a_cliff_with_its_name(model):
    planted = plant("transposed", model)
    drawn = errors_figure(report_of(planted.model, planted.tap), "wo $x$")
    (axes,) = drawn.figure.axes
    assert [text.get_text() for text in axes.texts] == ["layers.1.wo"]
    at = axes.lines[2].get_xdata()[0]
    median = axes.lines[0].get_ydata()
    assert at == 27 and median[at - 1] < 1e-5 and median[at] > 1e-2
    assert "a cliff at layers.1.wo" in drawn.alt and drawn.alt.startswith("wo $x$: ")
    assert drawn.png().startswith(b"\x89PNG")


def test_many_bugs_are_a_wall_with_a_mark_where_each_begins(model):
    reports = {"none": report_of(model)}
    for name in ("transposed", "layer-skipped", "rows"):
        planted = plant(name, model)
        reports[name] = report_of(planted.model, planted.tap)
    drawn = cliffs_figure(reports)
    image = drawn.figure.axes[0].images[0].get_array()
    assert image.shape == (4, 54) and image[0].max() < np.log10(ALARM)
    assert image[1, 26] < np.log10(ALARM) < image[1, 27] and image[3, 0] > np.log10(ALARM)
    marks = [line.get_xydata().tolist() for line in drawn.figure.axes[0].lines]
    assert [27, 1] in [mark[0] for mark in marks] and len(marks) == 3
    labels = [label.get_text() for label in drawn.figure.axes[0].get_yticklabels()]
    assert labels == list(reports)
    assert "Dark to the end: none." in drawn.alt and "54 steps" in drawn.alt
    del reports["none"]
    assert cliffs_figure(reports).alt.endswith("None is dark to the end.")
    with pytest.raises(RequestError, match="no step was compared"):
        cliffs_figure({})


def test_a_bug_in_the_first_step_is_drawn_too(model):
    planted = plant("rows", model)
    assert "from the first step on" in errors_figure(report_of(planted.model)).alt


def test_nothing_to_draw_is_said(model):
    with pytest.raises(RequestError, match="no step was compared"):
        errors_figure(report_of(model, tokens=[*TOKENS[:-1], 5]))


def test_the_lens_has_a_cell_for_each_layer_and_token():
    ids = np.array([[7, 1], [7, 2], [7, 2]])
    lens = LogitLens(ids, np.float32([[0.1, 0.9]] * 3))
    drawn = lens_figure(lens, ["$a", "b\n"], [[f"p{i}" for i in row] for row in ids])
    (axes,) = drawn.figure.axes
    assert [text.get_text() for text in axes.texts] == ["p7", "p1", "p7", "p2", "p7", "p2"]
    assert [t.get_text() for t in axes.get_xticklabels()] == [r"\$a", r"b\n"]
    assert "2 tokens across, 3 rows" in drawn.alt and "after 1 for the last" in drawn.alt
    assert drawn.png().startswith(b"\x89PNG")


def test_heads_side_by_side_or_one_large(model):
    steps = trace(model, TOKENS)
    drawn = attention_figure(steps, 2, [])
    shown = [axes for axes in drawn.figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == [f"head {h}" for h in range(6)]
    weights = steps["layers.2.weights"]
    np.testing.assert_array_equal(shown[4].images[0].get_array(), weights[4])
    one = attention_figure(steps, 2, [f"t{i}" for i in range(9)], head=4)
    (axes,) = one.figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"t{i}" for i in range(9)]
    assert "head 4: squares of 9 by 9" in one.alt
    with pytest.raises(RequestError, match="head 6, expected 0 to 5"):
        attention_figure(steps, 2, [], head=6)
    with pytest.raises(RequestError, match=r"layers\.3\.weights is not in the trace"):
        attention_figure(steps, 3, [])


def test_residuals_are_lines_of_tokens(model):
    steps = trace(model, TOKENS)
    drawn = residual_figure(sizes(3, steps), moves(3, steps))
    left, right = drawn.figure.axes
    assert len(left.lines) == len(right.lines) == 8 + 2
    np.testing.assert_allclose(left.lines[8].get_ydata(), sizes(3, steps)[:, 0])
    assert "over 3 layers" in drawn.alt
