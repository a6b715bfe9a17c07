"""ChatControls: the field for messages, the buttons of a conversation, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from llama_edu.errors import RequestError
from llama_edu.show.panels.chat.talker import Talker
from llama_edu.show.panels.parts.controls import SETTING_NAMES, setting_sliders, settings_of
from llama_edu.show.runtime.optional import import_optional
from llama_edu.transformer.sampling import SamplingSettings

ipywidgets: Any = import_optional("ipywidgets", "ChatPanel")


class _Actions(Protocol):
    """What the buttons do."""

    def send(self) -> object:
        """Send what is in the field."""

    def stop(self) -> None:
        """End the answer."""

    def regenerate(self) -> object:
        """Answer again."""

    def drop_oldest(self) -> object:
        """Forget the oldest turn."""

    def reset(self) -> object:
        """Forget all turns."""


class ChatControls:
    """The widgets of a conversation and the values they hold.

    Attributes:
        message, system: fields. send_button, stop_button, again_button, drop_button, reset_button.
        n_tokens, shaded: widgets; temperature and the others are in `sliders` by name.
        message_row, buttons, settings_box: boxes of them.
    """

    def __init__(
        self,
        actions: _Actions,
        system: str,
        n_tokens: int,
        shaded: bool,
        settings: Mapping[str, float],
    ) -> None:
        """Build the widgets.

        Args:
            settings: first values of sampling settings, by name.
        Raises:
            RequestError: an unknown setting, or a value out of range.
        """
        first = _checked(settings)
        self.message = ipywidgets.Text(
            placeholder="a message, then Enter", tooltip="Your message; Enter sends it",
            layout=ipywidgets.Layout(flex="1 1 auto", width="auto"),
        )  # fmt: skip
        # Enter alone sends: a change of the value would count as one also when the field is left
        self.message.on_msg(
            lambda _, content, __: actions.send() if content.get("event") == "submit" else None
        )
        self.send_button = _button("Send", "paper-plane", "Send the message", "primary")
        self.stop_button = _button("Stop", "stop", "End the answer; what was written stays")
        self.again_button = _button("Regenerate", "refresh", "Answer the last message again")
        self.drop_button = _button(
            "Drop oldest turn", "scissors", "Forget the oldest turn, to make room in the context"
        )
        self.reset_button = _button("New conversation", "trash", "Forget all turns")
        self.send_button.on_click(lambda _: actions.send())
        self.stop_button.on_click(lambda _: actions.stop())
        self.again_button.on_click(lambda _: actions.regenerate())
        self.drop_button.on_click(lambda _: actions.drop_oldest())
        self.reset_button.on_click(lambda _: actions.reset())
        self.system = _system_field(system)
        self.n_tokens = _length_slider(n_tokens)
        self.shaded = _shading_box(shaded)
        values = {name: getattr(first, name) for name in SETTING_NAMES}
        self.sliders = {
            name: slider
            for name, slider in setting_sliders(values | {"seed": 0}).items()
            if name != "seed"
        }
        row = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
        self.message_row = ipywidgets.HBox(
            [self.message, self.send_button], layout=ipywidgets.Layout(width="100%")
        )
        self.buttons = ipywidgets.HBox(
            [self.stop_button, self.again_button, self.drop_button, self.reset_button], layout=row
        )
        grid = ipywidgets.GridBox(
            [self.n_tokens, *self.sliders.values()],
            layout=ipywidgets.Layout(
                grid_template_columns="repeat(auto-fit, minmax(290px, 1fr))", width="100%"
            ),
        )
        self.settings_box = ipywidgets.VBox([self.system, grid])

    def values(self) -> tuple[SamplingSettings, int]:
        """The settings of the next answer, and its largest number of tokens."""
        return settings_of(self.sliders), self.n_tokens.value

    def clear(self) -> None:
        """Empty the field: the message is in the conversation now."""
        self.message.value = ""

    def show(self, talker: Talker) -> None:
        """Allow what can be done now."""
        is_free = not talker.is_busy and talker.conversation is not None
        messages = talker.conversation.messages if talker.conversation else []
        has_turns = any(message["role"] == "user" for message in messages)
        self.send_button.disabled = not is_free
        self.stop_button.disabled = not talker.is_busy
        for button in (self.again_button, self.drop_button, self.reset_button):
            button.disabled = not (is_free and has_turns)


def _checked(settings: Mapping[str, float]) -> SamplingSettings:
    unknown = sorted(set(settings) - set(SETTING_NAMES))
    if unknown:
        raise RequestError(f"{unknown[0]!r}: no such setting, expected {', '.join(SETTING_NAMES)}")
    return SamplingSettings(**settings)  # type: ignore[arg-type]


def _system_field(system: str) -> Any:
    return ipywidgets.Textarea(
        value=system, description="told before", rows=2,
        placeholder="what the model is told beforehand; empty leaves it to the template",
        tooltip="The system message; a change counts from the next message on",
        style={"description_width": "100px"},
        layout=ipywidgets.Layout(width="100%", max_width="800px"),
    )  # fmt: skip


def _length_slider(n_tokens: int) -> Any:
    return ipywidgets.IntSlider(
        value=n_tokens, min=1, max=max(2048, n_tokens), description="length",
        tooltip="The largest number of tokens of an answer",
        style={"description_width": "100px"}, layout=ipywidgets.Layout(width="auto"),
    )  # fmt: skip


def _shading_box(shaded: bool) -> Any:
    return ipywidgets.Checkbox(
        value=shaded, description="shade by probability", indent=False,
        tooltip="The less likely the model found a token, the darker its background",
        layout=ipywidgets.Layout(width="auto", margin="2px 12px 2px 0"),
    )  # fmt: skip


def _button(description: str, icon: str, tooltip: str, style: str = "") -> Any:
    return ipywidgets.Button(
        description=description, icon=icon, tooltip=tooltip, button_style=style,
        layout=ipywidgets.Layout(width="auto"),
    )  # fmt: skip
