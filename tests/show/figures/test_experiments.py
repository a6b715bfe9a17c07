"""The figure of the illusion shows the measured numbers; refusals become sentences."""

from __future__ import annotations

import pytest

from llama_edu.errors import MeasurementError, RequestError
from llama_edu.experiments.illusion import Illusion, Reading
from llama_edu.pages.faults import FaultCounts
from llama_edu.show import attempt

pytest.importorskip("matplotlib")
from llama_edu.show.figures.experiments import illusion_figure


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
