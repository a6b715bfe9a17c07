"""Saving a text: no file is lost, and what cannot be saved is explained."""

from __future__ import annotations

import pytest

from llama_edu.errors import RequestError

pytest.importorskip("ipywidgets")
from llama_edu.show.panels.parts.saving import save_text


def test_a_file_is_replaced_only_when_asked(in_folder):
    assert save_text("Bär", "a.txt") == "a.txt: 5 bytes written"
    with pytest.raises(RequestError, match=r"a\.txt: already exists and was not changed"):
        save_text("other", "a.txt")
    assert (in_folder / "a.txt").read_bytes() == "Bär\n".encode()
    save_text("other", "a.txt", replace=True)
    assert (in_folder / "a.txt").read_text() == "other\n"


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("", "a.txt", "nothing is written yet; press Generate first"),
        ("a", "", "the file needs a name, such as story.txt"),
        ("a", "x" * 300, "cannot be written, File name too long; choose another name"),
        ("a", "a\0b", "cannot be written, embedded null byte"),
    ],
)
def test_a_text_that_cannot_be_saved_is_said_in_words(in_folder, text, path, message):
    with pytest.raises(RequestError, match=message):
        save_text(text, path)
    assert list(in_folder.iterdir()) == []
