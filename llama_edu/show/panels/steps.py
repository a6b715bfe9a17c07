"""StepsPanel: look inside one computation: attention, what each layer would say, sizes."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from llama_edu.errors import RequestError
from llama_edu.html import escaped, note_html
from llama_edu.llama import Llama
from llama_edu.reconcile.inside import logit_lens, moves, sizes
from llama_edu.show.figures.alt_figure import AltFigure
from llama_edu.show.figures.steps import attention_figure, lens_figure, residual_figure
from llama_edu.show.panels.parts.panel import Panel
from llama_edu.show.panels.parts.picture import Picture
from llama_edu.show.runtime.optional import import_optional

ipywidgets: Any = import_optional("ipywidgets", "StepsPanel")

#: What can be looked at.
VIEWS = ("attention", "what each layer would say", "size of x")

#: What a panel keeps of the computation.
_NAMES = ("embedding", "layers.*.out", "layers.*.weights")

#: A longer text makes no readable picture.
_MOST_TOKENS = 60


class StepsPanel(Panel):
    """Pictures of the steps of one text; choose the view, layer, head and position.

    Everything is computed when the panel is made. A page without a kernel shows the last picture.

    Attributes:
        view, layer, head, position: the controls. drawn, words: what they show.
    """

    def __init__(self, llama: Llama, text: str) -> None:
        """Compute the text, with BOS in front if the model expects it.

        Raises:
            RequestError: the text has no tokens, or more than 60.
        """
        tokens = llama.tokenizer.encode(text)
        if not 0 < len(tokens) <= _MOST_TOKENS:
            raise RequestError(
                f"StepsPanel: the text has {len(tokens)} tokens, expected 1 to {_MOST_TOKENS}"
            )
        n_layers = llama.config.n_layers
        self.steps = llama.trace(tokens, _NAMES)
        self.lens = logit_lens(llama.model, self.steps)
        self._sizes, self._moves = sizes(n_layers, self.steps), moves(n_layers, self.steps)
        self._pieces = [_piece(llama, token) for token in tokens]
        self._predicted = [[_piece(llama, token) for token in row] for row in self.lens.ids]
        self.view = ipywidgets.Dropdown(options=VIEWS, description="view")
        self.layer = ipywidgets.IntSlider(0, 0, n_layers - 1, description="layer")
        heads = [("all", None), *((str(h), h) for h in range(llama.config.n_heads))]
        self.head = ipywidgets.Dropdown(options=heads, description="head")
        last = len(tokens) - 1
        self.position = ipywidgets.IntSlider(last, 0, max(last, 1), description="position")
        self.position.disabled = last == 0
        self.drawn, self.words = ipywidgets.HTML(), ipywidgets.HTML()
        controls = (self.view, self.layer, self.head, self.position)
        row = ipywidgets.HBox(controls[:3], layout=ipywidgets.Layout(flex_flow="row wrap"))
        super().__init__([row, self.position, self.words, self.drawn])
        self.add_class("llama-edu-steps")
        for control in controls:
            control.observe(self._show, "value")
        self._show()

    def figure(self) -> AltFigure:
        """The picture that the controls choose, with its text."""
        if self.view.value == "attention":
            return attention_figure(self.steps, self.layer.value, self._pieces, self.head.value)
        if self.view.value == "size of x":
            return residual_figure(self._sizes, self._moves)
        return lens_figure(self.lens, self._pieces, self._predicted)

    def about_position(self) -> str:
        """What the chosen position looks at, or would say, in a sentence."""
        t = min(self.position.value, len(self._pieces) - 1)
        here = f"position {t}, {self._pieces[t]!r}"
        if self.view.value == "size of x":
            found = ", ".join(f"{size:.3g}" for size in self._sizes[:, t])
            return f"{here}: root mean square before the layers and after each: {found}"
        if self.view.value == "attention":
            weights = self.steps[f"layers.{self.layer.value}.weights"][:, t]
            shown = weights.mean(axis=0) if self.head.value is None else weights[self.head.value]
            best = np.argsort(-shown, kind="stable")[: min(4, t + 1)]
            looks = ", ".join(f"{self._pieces[s]!r} {shown[s]:.0%}" for s in best)
            return f"{here} looks at: {looks}"
        said = [f"{row[t]!r}" for row in self._predicted]
        return f"{here}: after each layer the likeliest next piece is {', '.join(said)}"

    def _show(self, change: object = None) -> None:
        self.layer.disabled = self.head.disabled = self.view.value != "attention"
        drawn = self.figure()
        self._png = drawn.png()
        encoded = base64.b64encode(self._png).decode("ascii")
        self.drawn.value = (  # a long text scrolls: smaller, its pieces could not be read
            f'<div style="overflow-x: auto"><img style="max-width: none" '
            f'alt="{escaped(drawn.alt)}" src="data:image/png;base64,{encoded}"></div>'
        )
        self.words.value = note_html(self.about_position())

    def picture(self) -> Picture:
        """What the controls choose, as a PNG and in words."""
        return Picture(repr(self), png=self._png)

    def __repr__(self) -> str:
        return f"{self.figure().alt}\n{self.about_position()}"


def _piece(llama: Llama, token: int) -> str:
    """The text of a token, alone; "BOS" for BOS."""
    if token == llama.tokenizer.bos_id:
        return "BOS"
    return llama.tokenizer.piece(int(token)).decode(errors="replace")
