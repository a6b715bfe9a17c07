"""Panel: a box of widgets that a page without a kernel shows as text."""

from __future__ import annotations

from typing import Any

from llama_edu.show.runtime.optional import import_optional

ipywidgets: Any = import_optional("ipywidgets", "the widgets")


class Panel(ipywidgets.VBox):
    """A box whose repr is shown where no widget can be."""

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        """The live widget, and also the whole repr, which ipywidgets would cut."""
        bundle: dict[str, object] = super()._repr_mimebundle_(**kwargs) or {}
        return bundle | {"text/plain": repr(self)}
