"""The controls and displays of the page map, built once and laid out."""

from __future__ import annotations

from typing import Any

from llama_edu.pages.touches import MODES, Mode
from llama_edu.show.panels.page_map.html import mode_words
from llama_edu.show.panels.parts.range_box import RangeBox
from llama_edu.show.runtime.optional import import_optional

ipywidgets: Any = import_optional("ipywidgets", "PageMapWidget")

#: What the replay goes through: its values, and their words.
TEXT, WITHIN = "text", "within"
_LEVELS = (("the text, token by token", TEXT), ("this token, part by part", WITHIN))

#: The first entry in the list of tensors; the others have a page number as their value.
NO_TENSOR = ("choose a tensor", -1)

_WIDE = {"width": "100%", "max_width": "600px"}
_LABEL = {"description_width": "70px"}


def mode_options(noun: str) -> list[tuple[str, Mode]]:
    """The colors to choose from, where a step is a token or a part of one."""
    return [(mode_words(mode, noun), mode) for mode in MODES]


class PageMapControls:
    """The widgets of a PageMapWidget.

    Attributes:
        prompt, n_tokens, generate_button, stop_button: what to write.
        mode, level, step_slider, play, page_slider, tensor: what to look at.
        word_row: the box of the words of the text, as buttons; the panel fills it.
        replay_row, page_row: the boxes of the two sliders whose ranges change.
        routers: of a mixture of experts, those that computed each token, as HTML above the story.
        parts: the names of a token's parts, as HTML.
        frame: the Image. map_box: its box, to which the panel adds what can be clicked.
        labels, status, story, totals, legend, page: HTML around it.
        making, looking: the boxes of the controls for writing, and of everything for looking.
    """

    def __init__(self, prompt: str, n_tokens: int) -> None:
        layout = ipywidgets.Layout
        wrap = {"flex_flow": "row wrap", "align_items": "center"}
        self.prompt = ipywidgets.Textarea(
            value=prompt, description="prompt", rows=1, tooltip="How the text begins",
            style=_LABEL, layout=layout(**_WIDE),
        )  # fmt: skip
        self.n_tokens = ipywidgets.IntSlider(
            value=n_tokens, min=1, max=max(200, n_tokens), description="length",
            tooltip="The largest number of new tokens", style=_LABEL, layout=layout(**_WIDE),
        )  # fmt: skip
        self.generate_button = ipywidgets.Button(
            description="Generate", button_style="primary", icon="play",
            tooltip="Write a text and watch the pages it needs",
        )  # fmt: skip
        self.stop_button = ipywidgets.Button(
            description="Stop", icon="stop", tooltip="End before the next token"
        )
        self.mode = ipywidgets.Dropdown(
            options=mode_options("token"), description="color",
            tooltip="What the color of a page means", style=_LABEL, layout=layout(**_WIDE),
        )  # fmt: skip
        self._make_replay()
        self.page_slider = ipywidgets.IntSlider(
            min=0, max=0, description="page", tooltip="Which page to look at", style=_LABEL,
            layout=layout(flex="1 1 auto", width="auto"),
        )  # fmt: skip
        self.tensor = ipywidgets.Dropdown(
            options=[NO_TENSOR], description="go to", style=_LABEL,
            tooltip="Pick the first page of a tensor", layout=layout(**_WIDE),
        )  # fmt: skip
        self.status, self.story, self.totals = (ipywidgets.HTML() for _ in range(3))
        self.routers, self.parts = ipywidgets.HTML(), ipywidgets.HTML()
        self.word_row = ipywidgets.VBox()
        self.legend, self.page = ipywidgets.HTML(), ipywidgets.HTML()
        self.labels = ipywidgets.HTML(layout=layout(flex="0 0 110px", width="110px", margin="0"))
        self.frame = ipywidgets.Image(
            format="png", value=b"",
            layout=layout(min_width="0", margin="0", grid_area="1 / 1 / 2 / 2"),
        )  # fmt: skip
        self.map_box = ipywidgets.GridBox(
            [self.frame],
            layout=layout(min_width="0", flex="0 1 auto", margin="0", overflow="hidden"),
        )
        framed = ipywidgets.HBox(
            [self.labels, self.map_box],
            layout=layout(align_items="stretch", width="100%", overflow="hidden"),
        )
        buttons = ipywidgets.HBox([self.generate_button, self.stop_button], layout=layout(**wrap))
        self.replay_row = RangeBox(self.step_slider, self.play, **wrap, **_WIDE)
        self.page_row = RangeBox(self.page_slider, **_WIDE)
        self.making = ipywidgets.VBox([self.prompt, self.n_tokens, buttons])
        self.looking = ipywidgets.VBox(
            [self.word_row, self.parts, framed, self.legend, self.totals, self.mode, self.level,
             self.replay_row, self.page_row, self.tensor, self.page]
        )  # fmt: skip

    def _make_replay(self) -> None:
        """What is replayed, the slider along its steps, and the button that moves it."""
        layout = ipywidgets.Layout
        self.level = ipywidgets.ToggleButtons(
            options=_LEVELS, description="replay of", style=_LABEL | {"button_width": "auto"},
            tooltips=["Each step of the slider is a token", "Each step of the slider is a layer"],
        )  # fmt: skip
        self.step_slider = ipywidgets.IntSlider(
            min=1, max=1, description="replay", readout=False, style=_LABEL,
            tooltip="The map as it was after each step",
            layout=layout(flex="1 1 200px", width="auto"),
        )  # fmt: skip
        self.play = ipywidgets.Play(
            min=1, max=1, interval=150, show_repeat=False, tooltip="Replay step by step"
        )
        # linked in the front end, where it ticks; without one it never ticks
        self._link = ipywidgets.jslink((self.play, "value"), (self.step_slider, "value"))
