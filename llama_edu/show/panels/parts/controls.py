"""The controls of a text: prompt, examples, and one slider for every sampling setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from llama_edu.config import ModelConfig
from llama_edu.errors import RequestError
from llama_edu.show.panels.parts.range_box import redraw
from llama_edu.show.runtime.optional import import_optional
from llama_edu.transformer.sampling import SamplingSettings

ipywidgets: Any = import_optional("ipywidgets", "the widgets")

#: Beginnings to choose from; with the last, empty one, the model begins by itself.
EXAMPLE_PROMPTS = (
    "Once upon a time",
    "Long ago, by the sea, there was",
    "One sunny morning, a little",
    "Lily wanted",
    '"Hello, sun!" said',
    "",
)

#: Settings that have a slider: all except how many tokens the repeat penalty looks back at.
SETTING_NAMES = tuple(f.name for f in fields(SamplingSettings) if f.name != "repeat_last_n")

#: The default of each control's first value.
FIRST_VALUES: dict[str, Any] = {
    "prompt": EXAMPLE_PROMPTS[0], "stop": (), "n_tokens": 256,
    **{name: getattr(SamplingSettings(), name) for name in SETTING_NAMES}, "seed": 1, "pace": 0,
}  # fmt: skip

#: The length slider ends here for longer contexts: beyond, one pixel would be dozens of tokens, and
#: a text that has reached its length can be continued.
_LONGEST = 1024


class Controls:
    """A prompt and sliders, and the values they hold.

    Attributes:
        prompt, stop, n_tokens, temperature, top_k, top_p, min_p, repeat_penalty, seed, pace:
            widgets.
        widgets: all of them, laid out, for a box.
    """

    def __init__(
        self, config: ModelConfig | None, examples: tuple[str, ...], values: Mapping[str, Any]
    ) -> None:
        """Build the widgets.

        Args:
            config: bounds length and top-k; None where no model could be opened.
            values: the first value of each control, by its name, see first_values.
        """
        context = min(config.max_seq_len, _LONGEST) if config else _LONGEST
        vocab_size = config.vocab_size if config else 32000
        self._example_texts = examples
        self.examples = ipywidgets.Dropdown(
            description="examples",
            # numbers as values, because ipywidgets takes None for "nothing is selected"
            options=[("choose a beginning", 0)]
            + [(text or "(empty: begin with anything)", n) for n, text in enumerate(examples, 1)],
            tooltip="Copy one of these beginnings into the prompt",
            style={"description_width": "70px"},
            layout=ipywidgets.Layout(width="100%", max_width="600px"),
        )
        self.prompt = ipywidgets.Textarea(
            value=values["prompt"],
            description="prompt",
            placeholder="how the text begins",
            rows=2,
            tooltip="How the text begins; the model continues it",
            style={"description_width": "70px"},
            layout=ipywidgets.Layout(width="100%", max_width="600px"),
        )
        self.examples.observe(self._use_example, "value")
        self.stop = ipywidgets.Textarea(
            value="\n".join(stop_strings(values["stop"])),
            description="stop at",
            placeholder="strings that end the text, one on each line (none)",
            rows=1,
            tooltip="The text ends before the first of these strings; one on each line",
            style={"description_width": "70px"},
            layout=ipywidgets.Layout(width="100%", max_width="600px"),
        )
        self.n_tokens = _slider("length", values["n_tokens"], 1, context, 1,
            "The largest number of new tokens; the text may end earlier")  # fmt: skip
        settings = setting_sliders(values, vocab_size)
        self._settings = settings
        self.temperature, self.top_k = settings["temperature"], settings["top_k"]
        self.top_p, self.min_p = settings["top_p"], settings["min_p"]
        self.repeat_penalty, self.seed = settings["repeat_penalty"], settings["seed"]
        self.pace = _slider("pace", values["pace"], 0, 100, 1,
            "The largest number of tokens per second; 0 is no limit")  # fmt: skip
        self._sliders = ipywidgets.GridBox(
            [self.n_tokens, *settings.values(), self.pace],
            layout=ipywidgets.Layout(
                grid_template_columns="repeat(auto-fit, minmax(290px, 1fr))", width="100%"
            ),
        )  # fmt: skip
        self.widgets = (self.examples, self.prompt, self.stop, self._sliders)

    def values(self) -> dict[str, Any]:
        """The values of the controls now, as the arguments of Writing after the model.

        Raises:
            RequestError: a setting is out of range.
        """
        return {
            "prompt": self.prompt.value,
            "stop": [line for line in self.stop.value.split("\n") if line],
            "n_tokens": self.n_tokens.value,
            "settings": settings_of(self._settings),
            "seed": self.seed.value,
            "pace": self.pace.value,
        }

    def fit(self, config: ModelConfig) -> None:
        """Bound length and top-k by another model; values beyond its bounds are lowered to them."""
        self.n_tokens.max = min(config.max_seq_len, _LONGEST)
        self.top_k.max = min(config.vocab_size, 200)
        redraw(self._sliders)

    def _use_example(self, change: dict[str, Any]) -> None:
        if change["new"]:
            self.prompt.value = self._example_texts[change["new"] - 1]


def first_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values, and the FIRST_VALUES of all other controls.

    Raises:
        RequestError: an unknown name, or a setting out of range.
    """
    unknown = sorted(set(given) - set(FIRST_VALUES))
    if unknown:
        raise RequestError(f"{unknown[0]!r}: no such control, expected {', '.join(FIRST_VALUES)}")
    values = FIRST_VALUES | dict(given)
    SamplingSettings(**{name: values[name] for name in SETTING_NAMES})
    stop_strings(values["stop"])
    return values


def stop_strings(stop: str | Sequence[str]) -> list[str]:
    """Stop strings as a list; RequestError for one that has no line of its own in the panel."""
    strings = [stop] if isinstance(stop, str) else list(stop)
    for string in strings:
        if not isinstance(string, str) or not string or "\n" in string:
            raise RequestError(
                f"stop: {string!r:.40} is no string of one line, which is what the panel's field "
                f"holds; give others to llama.generate(stop=...)"
            )
    return strings


def settings_of(sliders: Mapping[str, Any]) -> SamplingSettings:
    """The sampling settings that their sliders show.

    Raises:
        RequestError: a setting is out of range.
    """
    return SamplingSettings(**{name: sliders[name].value for name in SETTING_NAMES})


def setting_sliders(values: Mapping[str, Any], vocab_size: int = 200) -> dict[str, Any]:
    """A slider, with a tooltip, for each sampling setting and for the seed, by its name."""
    return {
        "temperature": _slider(
            "temperature", values["temperature"], 0.0, 2.0, 0.05,
            "0 always takes the likeliest token; more makes unlikely tokens likelier",
        ),
        "top_k": _slider(
            "top-k", values["top_k"], 0, min(vocab_size, 200), 1,
            "Keep only the k likeliest tokens; 0 keeps all",
        ),
        "top_p": _slider(
            "top-p", values["top_p"], 0.05, 1.0, 0.01,
            "Keep the fewest tokens whose probabilities together reach p; 1 keeps all",
        ),
        "min_p": _slider(
            "min-p", values["min_p"], 0.0, 1.0, 0.01,
            "Drop tokens less likely than this share of the likeliest; 0 keeps all",
        ),
        "repeat_penalty": _slider(
            "repeat penalty", values["repeat_penalty"], 0.5, 2.0, 0.05,
            "Above 1, the last 64 tokens become less likely; 1 is off",
        ),
        "seed": _slider("seed", values["seed"], 0, 999, 1, "Same seed and settings, same text"),
    }  # fmt: skip


def _slider(
    description: str, value: float, low: float, high: float, step: float, tooltip: str
) -> Any:
    """A slider of integers or fractions, by its step; its range grows to include `value`."""
    kind = ipywidgets.IntSlider if isinstance(step, int) else ipywidgets.FloatSlider
    return kind(
        value=value,
        min=min(low, value),
        max=max(high, value),
        step=step,
        description=description,
        tooltip=tooltip,
        style={"description_width": "100px"},
        layout=ipywidgets.Layout(width="auto"),
    )
