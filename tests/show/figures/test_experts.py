"""The routers' choices as a figure: numbers in colors, layers at the left, texts below."""

from __future__ import annotations

import pytest
from helpers.mixtures import choices_of

from llama_edu.errors import RequestError

pytest.importorskip("matplotlib")
from llama_edu.show.figures.experts import router_figure

CHOSEN = [[(0, 1), (1, 2), (3, 4)], [(0, 3), (0, 3), (5, 7)]]


def test_each_token_is_a_column_of_its_experts():
    figure = router_figure(choices_of(CHOSEN, 8), ["$a", "b", "c"], title="costs $5")
    (axes,) = figure.figure.axes
    cells = sorted((text.get_position(), text.get_text()) for text in axes.texts)
    assert [text for _, text in cells] == list("010312033457")  # column by column, downward
    assert [label.get_text() for label in axes.get_yticklabels()] == ["layer 0", "layer 1"]
    assert [label.get_text() for label in axes.get_xticklabels()] == [r"\$a", "b", "c"]
    assert "3 tokens" in figure.alt and "the first token, $a" in figure.alt.lower()
    assert (
        "layer 0: 0, 1; layer 1: 0, 3" in figure.alt and "by chance it would be 25%" in figure.alt
    )
    assert figure.png().startswith(b"\x89PNG")


def test_layers_can_be_chosen_and_long_texts_continue_below():
    made = choices_of([[(0, 1)] * 30, [(2, 3)] * 30], 8)
    figure = router_figure(made, ["a"] * 30, layers=[1])
    assert [len(axes.get_xticks()) for axes in figure.figure.axes] == [24, 6]
    assert {text.get_text() for text in figure.figure.axes[0].texts} == {"2", "3"}
    many = router_figure(choices_of([[(0, 1)] * 80], 8), ["a"] * 80)
    assert "The first 72 of 80 tokens are drawn." in many.alt and len(many.figure.axes) == 3


@pytest.mark.parametrize("layers", [[], [2], [-1]])
def test_layers_that_are_not_there_are_refused(layers):
    with pytest.raises(RequestError, match="layers 0 to 1"):
        router_figure(choices_of(CHOSEN, 8), ["a", "b", "c"], layers=layers)
