"""Figures of experiments show the measured numbers; refusals become sentences."""

from __future__ import annotations

import pytest

from llama_edu.errors import MeasurementError, RequestError
from llama_edu.experiments.illusion import Illusion, Reading
from llama_edu.experiments.load_race import Lap, LoadRace
from llama_edu.pages.faults import FaultCounts
from llama_edu.show import attempt

pytest.importorskip("matplotlib")
from llama_edu.show.figures.experiments import illusion_figure, race_figure


def test_each_lap_is_a_bar_of_three_lengths_in_milliseconds():
    laps = (
        Lap("mmap", "cold", 0.001, 0.050, 0.020, 0, 64),
        Lap("read()", "cold", 0.090, 0.030, 0.010, 64, 64),
        Lap("mmap", "warm", 0.002, 0.007, 0.005, None, None),
    )
    drawn = race_figure(LoadRace(64, laps))
    cold, warm = drawn.figure.axes
    assert [label.get_text() for label in cold.get_yticklabels()] == ["read()", "mmap"]
    widths = [[round(bar.get_width(), 6) for bar in part] for part in cold.containers]
    assert widths == [[90, 1], [30, 50], [10, 20]]
    starts = [[round(bar.get_x(), 6) for bar in part] for part in cold.containers]
    assert starts == [[0, 0], [90, 1], [120, 51]]
    assert len(warm.containers) == 3
    assert "mmap, read()" in drawn.alt and "cold and warm" in drawn.alt


def test_a_race_without_a_cold_file_has_one_panel():
    drawn = race_figure(LoadRace(64, (Lap("mmap", "warm", 0.1, 0.2, 0.3, 0, 64),)))
    assert len(drawn.figure.axes) == 1 and "warm" in drawn.alt and "cold" not in drawn.alt


def test_each_reading_has_three_bars_and_what_is_unknown_has_none():
    readings = (
        Reading("warm", "every page", FaultCounts(10, 0), 0.0625, 1.0, 1.0, "exact"),
        Reading("cold", "every page", None, None, None, 0.5, "exact"),
    )
    (axes,) = illusion_figure(Illusion(4096 * 160, readings)).figure.axes
    heights = [[bar.get_height() for bar in part] for part in axes.containers]
    assert heights == [[6.25, 0], [100, 0], [100, 50]]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["warm,\nevery page", "cold,\nevery page"]


def test_a_refusal_is_said_and_anything_else_is_an_error(capsys):
    def refuse(what):
        raise MeasurementError(f"{what}: this system has no such counter")

    assert attempt(refuse, "sharing") is None
    assert capsys.readouterr().out == (
        "not measured here: sharing: this system has no such counter\n"
    )
    assert attempt(max, 3, 5, key=lambda x: -x) == 3

    def wrong():
        raise RequestError("no")

    with pytest.raises(RequestError):
        attempt(wrong)
