"""Panel: a box of widgets that leaves a picture where no kernel runs."""

from __future__ import annotations

from typing import Any

from llama_edu.show.panels.parts.picture import Picture
from llama_edu.show.runtime.optional import import_optional

ipywidgets: Any = import_optional("ipywidgets", "the widgets")


class Panel(ipywidgets.VBox):
    """A box that shows its picture where no widget can be.

    What is displayed before anything was written has little to show; `picture()` in a later cell
    shows what there is by then.
    """

    def picture(self) -> Picture:
        """The panel as it is now, without controls; a subclass adds HTML or a PNG to its repr."""
        return Picture(repr(self))

    def _repr_mimebundle_(self, **kwargs: object) -> tuple[dict[str, object], dict[str, object]]:
        """The live widget, and its picture beside it for pages without a kernel."""
        live: dict[str, object] = super()._repr_mimebundle_(**kwargs) or {}
        data, metadata = self.picture()._repr_mimebundle_()
        return live | data, metadata
