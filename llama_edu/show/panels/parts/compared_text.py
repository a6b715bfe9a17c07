"""ComparedText: the weights and settings of one text, and the text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_edu.errors import RequestError
from llama_edu.html import escaped_lines
from llama_edu.show.panels.parts.controls import SETTING_NAMES, setting_sliders, settings_of
from llama_edu.show.runtime.optional import import_optional
from llama_edu.show.runtime.weight_types import AS_STORED, WEIGHT_TYPES
from llama_edu.show.story.characters import character_runs
from llama_edu.show.story.token_html import DIFFERENT, story_box, story_html
from llama_edu.show.story.writing import Writing
from llama_edu.transformer.sampling import GREEDY, SamplingSettings

ipywidgets: Any = import_optional("ipywidgets", "ComparisonWidget")

#: The defaults of a text: greedy, so that only the weights make a difference.
DEFAULTS: dict[str, Any] = {
    "weights": AS_STORED, **{name: getattr(GREEDY, name) for name in SETTING_NAMES}, "seed": 1,
}  # fmt: skip


class ComparedText(ipywidgets.VBox):
    """Controls of one of two texts, and below them the text.

    Attributes:
        weights: widget; a name in WEIGHT_TYPES. sliders: name of a setting -> its widget.
        writing: the text, or None before it is started.
    """

    def __init__(self, name: str, chosen: Mapping[str, Any]) -> None:
        """Build the controls.

        Args:
            name: "left" or "right", for messages. chosen: first values that are not the DEFAULTS.
        Raises:
            RequestError: an unknown name, or a value out of range.
        """
        unknown = sorted(set(chosen) - set(DEFAULTS))
        if unknown:
            raise RequestError(f"{name}: {unknown[0]!r}, expected one of {', '.join(DEFAULTS)}")
        values = DEFAULTS | dict(chosen)
        if values["weights"] not in WEIGHT_TYPES:
            raise RequestError(
                f"{name}: weights are {values['weights']!r}, expected one of "
                f"{', '.join(WEIGHT_TYPES)}"
            )
        weights = values.pop("weights")
        SamplingSettings(**{setting: values[setting] for setting in SETTING_NAMES})
        self.writing: Writing | None = None
        self.weights = ipywidgets.Dropdown(
            value=weights,
            options=WEIGHT_TYPES,
            description="weights",
            tooltip="How the numbers are stored; they are converted first if the file differs",
            style={"description_width": "100px"},
            layout=ipywidgets.Layout(width="auto"),
        )
        self.sliders = setting_sliders(values)
        self._story = ipywidgets.HTML()
        self._status = ipywidgets.HTML()
        super().__init__(
            [self.weights, *self.sliders.values(), self._status, self._story],
            layout=ipywidgets.Layout(flex="1 1 270px", width="auto", min_width="0"),
        )

    def settings(self) -> SamplingSettings:
        """The sampling settings that the sliders show."""
        return settings_of(self.sliders)

    def show(self, status: str, n_same: int | None) -> None:
        """Bring text and status up to date.

        Args:
            status: HTML. n_same: as for compared_html.
        """
        self._status.value = status
        self._story.value = compared_html(self.writing, n_same)


def compared_html(writing: Writing | None, n_same: int | None) -> str:
    """A text as HTML, with a mark on the first token that differs from the other text's.

    A token that is a part of a character marks the whole character.

    Args:
        n_same: how many new tokens are the same; None, if no difference is known, marks nothing.
    """
    if writing is None:
        return story_html(writing)
    return story_box(compared_body(writing, n_same))


def compared_body(writing: Writing, n_same: int | None) -> str:
    """The same without the box around it."""
    choices = list(writing.choices)
    texts = [choice.text for choice in choices]
    run = range(len(texts), len(texts))
    if n_same is not None and n_same < len(texts):
        run = character_runs(choices, writing.tokenizer)[n_same]
    same, different, rest = texts[: run.start], texts[run.start : run.stop], texts[run.stop :]
    body = f"<b>{escaped_lines(writing.prompt)}</b>{escaped_lines(''.join(same))}"
    if different:
        body += f'<mark style="{DIFFERENT}">{escaped_lines("".join(different))}</mark>'
    return body + escaped_lines("".join(rest))
