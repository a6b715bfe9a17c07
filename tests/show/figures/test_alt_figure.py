"""A figure with its alternative text, and text from files in it."""

from __future__ import annotations

import pytest

from llama_edu.show.figures.alt_figure import AltFigure, plain_label

figures = pytest.importorskip("matplotlib.figure")


@pytest.mark.parametrize(
    "name", [r"$\frac{1}$", "costs $5, not $6", "$$", "a\x1b[2J\nb", "x" * 500]
)
def test_any_name_can_be_a_label_and_none_is_a_formula(name):
    figure = figures.Figure(figsize=(2, 1))
    axes = figure.add_subplot()
    axes.set_title(plain_label(name))
    assert AltFigure(figure, "words").png().startswith(b"\x89PNG")
    label = plain_label(name)
    assert "\x1b" not in label and "\n" not in label and len(label) <= 80
    assert label.count("$") == label.count(r"\$")


def test_the_words_stand_where_the_figure_cannot():
    drawn = AltFigure(figures.Figure(figsize=(1, 1)), "a figure of nothing")
    data, metadata = drawn._repr_mimebundle_()
    assert repr(drawn) == data["text/plain"] == metadata["image/png"]["alt"]
