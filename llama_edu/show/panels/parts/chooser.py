"""ModelChooser: the models in data/, in the reader's folder, and those with a name.

Nothing is uploaded, and only a name on the Hugging Face hub that is typed here downloads anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llama_edu.bundled import bundled_checkpoint
from llama_edu.errors import LlamaEduError
from llama_edu.html import note_html
from llama_edu.models.listing import ListedModel, known_models, models_in_cache
from llama_edu.show.runtime.found_models import found_models
from llama_edu.show.runtime.optional import import_optional

ipywidgets: Any = import_optional("ipywidgets", "GenerationStudio")


class ModelChooser(ipywidgets.VBox):
    """A list of models and a button that opens one of them; any other is opened by its path.

    Attributes:
        folder: widget; the reader's own folder, whose models are listed too.
        models: widget; the list, whose values are paths.
        path: widget; what will be opened. tokenizer: widget; a vocabulary file, if needed.
    """

    def __init__(
        self,
        open_model: Callable[[str, str | None], object],
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        """List the models.

        Args:
            open_model: called with a path and the path of a vocabulary, or None.
            folder: the first value of `folder`.
        """
        self._open_model = open_model
        style = {"description_width": "80px"}
        layout = ipywidgets.Layout(width="auto", max_width="800px")
        self.folder = ipywidgets.Text(
            value=os.fspath(folder) if folder is not None else "",
            description="your folder",
            placeholder="a folder with your models, then Enter",
            continuous_update=False,
            tooltip="The models in this folder are listed below; nothing is copied or uploaded",
            style=style,
            layout=layout,
        )
        self.models = ipywidgets.Dropdown(
            description="models",
            tooltip="The models in data/, in your folder, and those that have a name",
            style=style,
            layout=layout,
        )
        self.path = ipywidgets.Text(
            description="path",
            placeholder="or the path or name of any model",
            tooltip="The file, folder or name that Open will open",
            style=style,
            layout=layout,
        )
        self.tokenizer = ipywidgets.Text(
            description="tokenizer",
            placeholder="only for weights without a vocabulary",
            tooltip="A tokenizer.model or tokenizer.bin, for weights without a vocabulary",
            style=style,
            layout=layout,
        )
        self.button = ipywidgets.Button(
            description="Open", icon="folder-open", tooltip="Map this model; starts no text"
        )
        self._message = ipywidgets.HTML()
        self.folder.observe(lambda _: self.list_models(), "value")
        self.models.observe(self._take_path, "value")
        self.button.on_click(lambda _: self._open())
        self.list_models()
        super().__init__(
            [self.folder, self.models, self.path, self.tokenizer, self.button, self._message]
        )

    def list_models(self) -> None:
        """List all again; a folder that cannot be listed is reported."""
        options: list[tuple[str, str | None]] = []
        failures = []
        places: list[tuple[str, Path]] = []
        try:
            places.append(("data/", bundled_checkpoint().parent))
        except LlamaEduError as error:
            failures.append(str(error))
        if self.folder.value:
            places.append(("", Path(self.folder.value)))
        for prefix, place in places:
            try:
                options += [(prefix + m.line, os.fspath(m.path)) for m in found_models(place)]
            except LlamaEduError as error:
                failures.append(str(error))
        options += [(f"{m.name}: {m.what or m.path}", m.name) for m in _named_models()]
        title = f"choose one of {len(options)}" if options else "no models found"
        self.models.options = [(title, None), *options]
        self.models.index = 0
        self._message.value = "".join(note_html(failure, is_error=True) for failure in failures)

    def enable(self, is_enabled: bool) -> None:
        """Allow or forbid opening, which must wait while a text is being written."""
        self.button.disabled = not is_enabled

    def _take_path(self, change: dict[str, Any]) -> None:
        if change["new"] is not None:
            self.path.value = change["new"]

    def _open(self) -> None:
        if not self.path.value:
            self._message.value = note_html("choose a model or type its path", is_error=True)
            return
        self._message.value = ""
        self._open_model(self.path.value, self.tokenizer.value or None)


def _named_models() -> list[ListedModel]:
    """The models with a name that can be opened, but for the bundled one, which lies in data/."""
    listed = [m for m in (*known_models(), *models_in_cache()) if m.path and not m.problem]
    return [m for m in listed if m.name != "stories"]
