"""The figure of size against loss shows the numbers that were measured."""

from __future__ import annotations

import numpy as np
import pytest

from llama_edu.quality.losses import Loss
from llama_edu.show.figures.formats.size_and_loss import size_and_loss_figure
from llama_edu.slimmer.size_and_loss import SizeAndLoss, StoredAs

pytest.importorskip("matplotlib")

FOUND = SizeAndLoss(
    (
        StoredAs("f32", 24_000_000, 2.5, None),
        StoredAs("q8_0", 6_000_000, 2.51, Loss(0.01, 0.02, 77)),
        StoredAs("q4_0", 3_000_000, 2.75, Loss(0.25, 0.05, 77)),
    ),
    77, "a text",
)  # fmt: skip


def test_every_type_has_its_point_its_error_and_its_name():
    drawn = size_and_loss_figure(FOUND)
    (axes,) = drawn.figure.axes
    line = next(
        line for line in axes.lines if line.get_marker() == "o" and len(line.get_xdata()) == 3
    )
    np.testing.assert_allclose(list(line.get_xdata()), [3, 6, 24])
    np.testing.assert_allclose(list(line.get_ydata()), [2.75, 2.51, 2.5])
    (bars,) = (c for c in axes.collections if len(c.get_segments()) == 3)
    heights = [segment[1, 1] - segment[0, 1] for segment in bars.get_segments()]
    np.testing.assert_allclose(heights, [0.1, 0.04, 0], atol=1e-9)
    assert [text.get_text() for text in axes.texts] == ["q4_0", "q8_0", "f32"]
    assert "77 tokens" in axes.get_title(loc="left") and "q4_0 3,000,000 bytes, 2.750" in drawn.alt
    assert drawn.png().startswith(b"\x89PNG")


def test_the_ticks_are_doublings_within_the_axis():
    (axes,) = size_and_loss_figure(FOUND).figure.axes
    assert axes.get_xticks().tolist() == [4, 8, 16]
    low, high = axes.get_xlim()
    assert all(low <= tick <= high for tick in axes.get_xticks())
