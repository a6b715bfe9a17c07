"""A slider whose range has changed is redrawn, and one whose range has not is left alone."""

from __future__ import annotations

import pytest

pytest.importorskip("ipywidgets")
import ipywidgets

from llama_edu.show.panels.parts.range_box import RangeBox


def test_the_views_are_made_anew_when_the_range_has_changed_and_only_then():
    slider, play = ipywidgets.IntSlider(min=1, max=1), ipywidgets.Play()
    box, seen = RangeBox(slider, play, width="100%"), []
    box.observe(lambda change: seen.append(change["new"]), "children")
    box.settle()
    assert seen == []
    slider.max = 7
    assert seen == []
    box.settle()
    assert seen == [(), (slider, play)]
    slider.value = 5
    box.settle()
    assert len(seen) == 2
