"""RangeBox: a slider whose range changes, redrawn so that the End key leads to its end.

The sliders of ipywidgets 8 go, when Home or End is pressed, to the range with which they were first
drawn: noUiSlider 15 changes its range but not the copy of it that its keyboard handler reads. A
slider that was made for 1 to 1 and grew with a text would jump to 1.
"""

from __future__ import annotations

from typing import Any

from llama_edu.show.runtime.optional import import_optional

ipywidgets: Any = import_optional("ipywidgets", "the widgets")


class RangeBox(ipywidgets.HBox):
    """Holds a slider and the widgets beside it, and redraws them when settle() is called."""

    def __init__(self, slider: Any, *beside: Any, **layout: str) -> None:
        """Lay them out in a row.

        Args:
            layout: of the box; the slider takes the space that the others leave.
        """
        self._slider, self._drawn = slider, (slider.min, slider.max)
        super().__init__([slider, *beside], layout=ipywidgets.Layout(**layout))

    def settle(self) -> None:
        """The slider has its final range for now: redraw it if that has changed."""
        if (self._slider.min, self._slider.max) != self._drawn:
            self._drawn = (self._slider.min, self._slider.max)
            redraw(self)


def redraw(box: Any) -> None:
    """Remove the children from the page and put them back: the same widgets in new views."""
    children, box.children = box.children, ()
    box.children = children
