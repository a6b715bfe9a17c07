"""The figure of all ways: points, the front, floor and one twelfth, words made of the numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llama_edu.errors import RequestError
from llama_edu.experiments.slimmer import Slimmer
from llama_edu.slimmer.ways.measured import Row
from llama_edu.slimmer.ways.rows import TRAP

pytest.importorskip("matplotlib")
from llama_edu.show.figures.pareto import pareto_caption, pareto_figure, pareto_front

ROWS = (
    Row("unchanged", "as it is", 1.0, 200, 0.0, 0.0),
    Row("stored type", "q8_0", 0.53, 104, -0.001, 0.002),
    Row("stored type", "q4_0", 0.28, 60, 0.05, 0.01),
    Row("stored type", "q4_1", 0.31, 66, 0.07, 0.01),
    Row("stored type", "q2_k", note="rows of 96 numbers are no whole blocks of 256"),
    Row("stored type", "tq1_0", 0.1, 24, 5.5, 0.1),
    Row("inputs cut", "50% of the inputs", 0.5, 200, 0.0, 0.0),
    Row("layers", "1 layer left out", 0.8, 160, 0.3, 0.1, "greedy: 1"),
    Row(TRAP, "ids of the scored text", 0.2, 30, -0.4, 0.1),
)
FOUND = Slimmer(
    file_name="my$model.gguf", stored_as="f16", text="a text", n_tokens=1234, base_nats=0.5,
    page_size=4096, file_pages=240, base_bytes=800_000, base_pages=200, floor_share=0.35,
    floor_pages=80, twelfth_pages=20, rows=ROWS, layer_nats=(), quantized=False, cut_short=False,
    elapsed_s=1.0,
)  # fmt: skip


def labels(rows):
    return [row.label for row in rows]


def test_the_front_has_what_nothing_beats_in_both_and_a_gain_counts_as_no_loss():
    assert labels(pareto_front(FOUND)) == ["q8_0", "q4_0", "tq1_0"]
    assert labels(pareto_front(FOUND, "bytes")) == ["50% of the inputs", "q4_0", "tq1_0"]
    worse = replace(FOUND, rows=(*ROWS, Row("low rank", "rank 1", 0.3, 61, 0.05, 0.01)))
    assert labels(pareto_front(worse)) == labels(pareto_front(FOUND))


def test_each_way_is_a_point_at_its_share_and_its_loss():
    (axes,) = pareto_figure(FOUND).figure.axes
    points = {
        c.get_label(): list(zip(*c.lines[0].get_data(), strict=True)) for c in axes.containers
    }
    assert points["stored type"] == [(0.52, -0.001), (0.3, 0.05), (0.33, 0.07), (0.12, 5.5)]
    assert points["layers"] == [(0.8, 0.3)] and TRAP not in points
    (by_bytes,) = pareto_figure(FOUND, "bytes").figure.axes
    cut = next(c for c in by_bytes.containers if c.get_label() == "inputs cut")
    assert list(cut.lines[0].get_xdata()) == [0.5]


def test_floor_and_one_twelfth_are_lines_and_the_front_is_a_staircase_that_promises_nothing():
    (axes,) = pareto_figure(FOUND).figure.axes
    lines = {tuple(line.get_xdata()): line for line in axes.get_lines()}
    assert (0.4, 0.4) in lines and (0.1, 0.1) in lines
    front = next(line for line in axes.get_lines() if line.get_label().startswith("front"))
    assert list(front.get_xdata()) == [0.52, 0.3, 0.12]
    assert front.get_drawstyle() == "steps-pre"  # with fewer pages at once the higher loss
    x_low, x_high = axes.get_xlim()
    y_low, y_high = axes.get_ylim()
    assert x_low < 0.1 and x_high > 1 and y_low < -0.001 and y_high > 5.6


def test_words_are_made_of_the_numbers_and_command_no_renderer():
    drawn = pareto_figure(FOUND)
    assert "Points for 7 ways" in drawn.alt and "q4_0 0.30, +0.050" in drawn.alt
    assert "at 0.40, and one twelfth of the file at 0.100" in drawn.alt
    assert "interrupted" not in drawn.alt
    assert "interrupted" in pareto_figure(replace(FOUND, cut_short=True)).alt
    caption = pareto_caption(FOUND)
    assert "1,234 tokens" in caption and "tq1_0, 0.12 of the pages for +5.500 nats" in caption
    assert "3 of the ways lie below it" in caption and r"my\$model" in caption
    assert drawn.png().startswith(b"\x89PNG")


def test_an_axis_that_is_none_is_refused():
    with pytest.raises(RequestError, match="axis is 'time', expected 'pages' or 'bytes'"):
        pareto_figure(FOUND, "time")
