"""Lines of what neighboring tokens need together: those of the experiments, and one's own."""

from __future__ import annotations

import pytest
from helpers import slimmer_records as made

from llama_edu.errors import RequestError

pytest.importorskip("matplotlib")
from llama_edu.show.figures.slimmer.unions import union_caption, union_figure, union_lines


def drawn(figure):
    (axes,) = figure.figure.axes
    return {
        line.get_label(): dict(zip(*line.get_data(), strict=True))
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_a_mixture_has_a_line_for_experts_for_the_file_and_for_a_dense_one():
    lines = drawn(union_figure(made.experts()))
    assert lines == {
        "moe.gguf: pages of experts": {1: 0.25, 2: 0.44, 4: 0.65},
        "moe.gguf: the file": {1: 0.4, 2: 0.5, 4: 0.7},
        "dense.gguf, dense: the file": {1: 0.95, 2: 0.96, 4: 0.97},
    }
    assert len(drawn(union_figure(made.experts(dense=False)))) == 2


def test_layouts_have_those_with_the_fewest_neurons_up_to_the_longest():
    found = made.neurons_and_pages(
        [made.layout("rows", False, (0.9, 0.8)), made.layout("side-by-side", True, (0.7, 0.5))]
    )
    lines = union_lines(found)
    assert [of[1] for of in lines.values()] == [0.8, 0.5]
    assert next(iter(lines)) == "as in every file today, 90% skipped"
    assert all(list(of) == [1, 2, 4] for of in drawn(union_figure(found)).values())
    assert all(list(of) == [1, 2, 4, 64] for of in drawn(union_figure(found, longest=64)).values())


def test_of_neurons_a_fixed_set_has_no_union_worth_a_line():
    lines = union_lines(made.neurons())
    assert list(lines) == [
        "neurons in the top tenth", "neurons kept by oracle, 90% left out",
        "neurons kept by gate, 90% left out",
    ]  # fmt: skip
    assert lines["neurons in the top tenth"] == {1: 0.1, 2: 0.19}


def test_lines_of_ones_own_are_drawn_beside_an_experiment_and_told_to_who_cannot_see():
    figure = union_figure({"mine $": {2: 0.5, 1: 0.125}}, made.experts(dense=False), title="$x")
    assert list(drawn(figure)) == [
        r"mine \$", "moe.gguf: pages of experts", "moe.gguf: the file",
    ]  # fmt: skip
    assert "mine $: 0.12 for 1, 0.50 for 2" in figure.alt
    assert figure.png().startswith(b"\x89PNG")
    said = union_caption({"mine": {2: 0.5, 1: 0.125}}, made.experts())
    assert "mine: 0.12 for one token, 0.50 for 2; moe.gguf: pages of experts: 0.25" in said


@pytest.mark.parametrize("n", [0, 9])
def test_nothing_and_too_many_lines_are_refused(n):
    with pytest.raises(RequestError, match=f"union_figure: {n} lines, expected 1 to 8"):
        union_figure({str(i): {1: 0.5} for i in range(n)})


def test_long_names_lie_below_each_other_inside_the_figure():
    found = made.neurons_and_pages([made.layout("side-by-side", True, (0.7, 0.5))])
    figure = union_figure(found, {"short": {1: 0.5}}).figure
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= 800
