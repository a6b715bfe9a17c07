"""A text as plain text, to copy or to save. No file is overwritten unless the reader allows it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llama_edu.errors import LlamaEduError, RequestError
from llama_edu.html import note_html
from llama_edu.show.runtime.optional import import_optional

ipywidgets: Any = import_optional("ipywidgets", "GenerationStudio")


def save_text(text: str, path: str | os.PathLike[str], *, replace: bool = False) -> str:
    """Write a text to a file as UTF-8, and a line end after it.

    Returns:
        A sentence on what was done.
    Raises:
        RequestError: there is no text or no name, the file already exists, or cannot be written.
    """
    if not text:
        raise RequestError("nothing is written yet; press Generate first")
    if not os.fspath(path):
        raise RequestError("the file needs a name, such as story.txt")
    data = (text + "\n").encode("utf-8")
    try:
        with Path(path).open("wb" if replace else "xb") as file:
            file.write(data)
    except FileExistsError:
        raise RequestError(
            f"{path}: already exists and was not changed; choose another name, or allow replacing"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the name
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RequestError(
            f"{path}: cannot be written, {reason}; choose another name or folder"
        ) from error
    return f"{path}: {len(data):,} bytes written"


class SavePanel(ipywidgets.VBox):
    """A text area to copy from, a file name, and a button that saves."""

    def __init__(self, text: Callable[[], str]) -> None:
        """Build the panel.

        Args:
            text: gives the text to be saved when the button is pressed.
        """
        self._text = text
        self.area = ipywidgets.Textarea(
            placeholder="The finished text, to select and copy",
            tooltip="Plain text: click into it, select all (Ctrl+A), copy (Ctrl+C)",
            rows=6,
            layout=ipywidgets.Layout(width="auto", max_width="800px"),
        )
        self.name = ipywidgets.Text(
            value="story.txt",
            description="file",
            tooltip="Where to save the text; a name without a folder goes beside the notebook",
            style={"description_width": "40px"},
            layout=ipywidgets.Layout(flex="1 1 160px", width="auto", max_width="400px"),
        )
        self.replace = ipywidgets.Checkbox(
            description="replace an existing file",
            indent=False,
            tooltip="Unless this is checked, no existing file is changed",
            layout=ipywidgets.Layout(width="auto", margin="2px 8px"),
        )
        self.button = ipywidgets.Button(
            description="Save", icon="save", tooltip="Write the text to this file"
        )
        self._message = ipywidgets.HTML()
        self.button.on_click(lambda _: self._save())
        super().__init__(
            [self.area,
             ipywidgets.HBox([self.name, self.replace, self.button],
                             layout=ipywidgets.Layout(flex_flow="row wrap", align_items="center")),
             self._message]
        )  # fmt: skip

    def show(self, text: str) -> None:
        """Put a finished text into the area; the message about an earlier one is removed."""
        if self.area.value != text:
            self.area.value = text
            self._message.value = ""

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> str:
        """Save the text, as the button does; the sentence is also shown in the panel.

        Raises:
            RequestError: as save_text.
        """
        try:
            done = save_text(self._text(), path, replace=replace)
        except LlamaEduError as error:
            self._message.value = note_html(str(error), is_error=True)
            raise
        self._message.value = note_html(done)
        return done

    def _save(self) -> None:
        try:
            self.save(self.name.value, replace=self.replace.value)
        except LlamaEduError:
            return  # the panel shows it
        self.replace.value = False
