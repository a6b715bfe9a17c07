"""A guess before a measurement: keeps the reader's number and shows it beside the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llama_edu.errors import RequestError
from llama_edu.html import escaped
from llama_edu.show.figures.ink import BLUE, INK
from llama_edu.show.panels.parts.panel import Panel
from llama_edu.show.runtime.optional import import_optional

ipywidgets: Any = import_optional("ipywidgets", "guess")

_TEXT = "color: var(--jp-content-font-color1, inherit); line-height: 1.5"


@dataclass(frozen=True)
class GuessAndTruth:
    """A guess (None where none was made) and the truth, on one scale from `low` to `high`."""

    guess: float | None
    truth: float
    low: float
    high: float
    unit: str

    def __repr__(self) -> str:
        truth = f"the truth: {_number(self.truth)}{self.unit}"
        if self.guess is None:
            return f"no guess was made; {truth}"
        return f"your guess: {_number(self.guess)}{self.unit}, {truth}"

    def _repr_html_(self) -> str:
        """Two bars; without a guess the truth alone, in a box that the reader has to open."""
        truth = self._bar("the truth", self.truth, BLUE)
        if self.guess is None:
            return (
                f'<details style="{_TEXT}"><summary>No guess was made: move the slider and run '
                f"this cell again, or open this box to see the truth.</summary>{truth}</details>"
            )
        bars = self._bar("your guess", self.guess, INK) + truth
        return f'<div aria-label="{escaped(repr(self))}">{bars}</div>'

    def _bar(self, name: str, value: float, color: str) -> str:
        return (
            f'<div style="display: flex; align-items: center; gap: 10px; {_TEXT}">'
            f'<span style="flex: 0 0 90px">{name}</span>'
            f'<span style="flex: 0 1 300px; height: 10px; background: rgba(128, 128, 128, 0.27)">'
            f'<span style="display: block; height: 10px; width: {100 * self._share(value):.1f}%; '
            f'background: {color}"></span></span>'
            f"<span>{escaped(_number(value) + self.unit)}</span></div>"
        )

    def _share(self, value: float) -> float:
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


class Guess(Panel):
    """A question with a slider; made by `guess`.

    Attributes:
        slider: the ipywidgets slider. number: its value; None until it is moved.
    """

    def __init__(self, question: str, low: float, high: float, unit: str, step: float) -> None:
        if not high > low or not step > 0:
            raise RequestError(
                f"guess: from {low} to {high} in steps of {step}, expected low < high and a step "
                f"above 0"
            )
        self.question, self.low, self.high, self.unit = question, low, high, unit
        self.number: float | None = None
        kind = ipywidgets.IntSlider if step == int(step) else ipywidgets.FloatSlider
        # in the middle, so that a guess at either end moves the slider too
        middle = low + step * round((high - low) / 2 / step)
        self.slider = kind(
            value=middle, min=low, max=high, step=step, description="my guess",
            style={"description_width": "70px"}, tooltip=question,
            layout=ipywidgets.Layout(width="100%", max_width="500px"),
        )  # fmt: skip
        self.slider.observe(self._on_move, "value")
        label = ipywidgets.HTML(f'<div style="{_TEXT}">{escaped(question)}</div>')
        super().__init__([label, ipywidgets.HBox([self.slider, ipywidgets.Label(unit)])])
        self.add_class("llama-edu-guess")

    def _on_move(self, change: dict[str, Any]) -> None:
        self.number = float(change["new"])

    def beside(self, truth: float) -> GuessAndTruth:
        """The guess as it is now, and the truth; folded away where no guess was made."""
        return GuessAndTruth(self.number, float(truth), self.low, self.high, self.unit)

    def __repr__(self) -> str:
        return f"guess: {self.question} ({_number(self.low)} to {_number(self.high)}{self.unit})"


def guess(
    question: str, low: float = 0, high: float = 100, unit: str = " %", step: float = 1
) -> Guess:
    """Ask the reader for a number before it is measured.

        my_guess = guess("How much of the file does one token need?")
        my_guess                       # in a cell of its own: shows the slider
        my_guess.beside(95.4)          # later: the guess beside the truth

    Args:
        question: one sentence. low, high, step: of the slider. unit: written after the number.
    Raises:
        RequestError: `high` is not above `low`, or `step` is not above 0.
    """
    return Guess(question, low, high, unit, step)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:,.1f}"
