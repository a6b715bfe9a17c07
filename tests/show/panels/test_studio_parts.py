"""Shades, saving, listing models: the parts of the studio that need no model at work."""

from __future__ import annotations

import os
import threading

import pytest
from helpers.tiny import write_tiny

from llama_edu.errors import RequestError

pytest.importorskip("ipywidgets")
from llama_edu.bundled import bundled_checkpoint
from llama_edu.show.panels.parts.chooser import ModelChooser
from llama_edu.show.panels.parts.saving import save_text
from llama_edu.show.runtime.found_models import found_models
from llama_edu.show.runtime.worker import Worker
from llama_edu.show.story.token_colors import SHADE_RGB, SHADES, legend_html, opacity_of

#: JupyterLab's page and text colors: light theme, dark theme.
THEMES = [((255, 255, 255), (33, 33, 33)), ((17, 17, 17), (255, 255, 255))]


def luminance(rgb):
    """Relative luminance, from WCAG 2.1."""
    parts = [c / 255 for c in rgb]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("page", "text"), THEMES)
def test_text_is_legible_on_every_shade_and_the_shades_differ_in_lightness(page, text):
    grounds = [
        tuple((1 - opacity) * p + opacity * s for p, s in zip(page, SHADE_RGB, strict=True))
        for _, opacity, _ in SHADES
    ]
    assert all(contrast(ground, text) >= 4.5 for ground in grounds)
    steps = [luminance(ground) for ground in grounds]
    assert steps == sorted(steps) or steps == sorted(steps, reverse=True)
    assert len({round(step, 3) for step in steps}) == len(SHADES)


def test_less_likely_tokens_are_darker_and_the_legend_names_every_shade():
    probabilities = [1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0]
    opacities = [opacity_of(p) for p in probabilities]
    assert opacities == [0, 0, 0.2, 0.2, 0.38, 0.38, 0.56, 0.56, 0.75, 0.75]
    assert all(words in legend_html() for _, _, words in SHADES)


def test_a_file_is_replaced_only_when_asked(in_folder):
    assert save_text("Bär", "a.txt") == "a.txt: 5 bytes written"
    with pytest.raises(RequestError, match=r"a\.txt: exists already and was not touched"):
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


def test_models_are_told_by_content_and_pipes_are_left_alone(tmp_path, rng):
    model, _ = write_tiny(tmp_path, rng)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\3\0")
    os.mkfifo(tmp_path / "pipe")
    model.rename(tmp_path / "no-suffix")
    found = found_models(tmp_path)
    assert [m.path.name for m in found] == ["no-suffix"]
    assert found[0].line.startswith("no-suffix: llama2.c")
    with pytest.raises(RequestError, match="nowhere: No such file or directory; give a folder"):
        found_models(tmp_path / "nowhere")


def test_a_folder_that_is_one_model_is_listed_itself():
    assert found_models(bundled_checkpoint())[0].path == bundled_checkpoint()


def test_the_chooser_lists_data_and_a_folder_of_the_readers(tmp_path, rng):
    model, _ = write_tiny(tmp_path, rng)
    opened = []
    chooser = ModelChooser(lambda path, tokenizer: opened.append((path, tokenizer)))
    labels = [label for label, _ in chooser.models.options]
    assert any(label.startswith("data/stories: ") for label in labels)
    chooser.folder.value = str(tmp_path)
    assert any(label.startswith("tiny.bin: ") for label, _ in chooser.models.options)
    chooser.button.click()
    assert opened == [] and "choose a model" in chooser._message.value
    chooser.models.value = str(model)
    chooser.button.click()
    assert opened == [(str(model), None)] and chooser._message.value == ""
    chooser.folder.value = str(tmp_path / "nowhere")
    assert "nowhere: No such file" in chooser._message.value


def test_a_worker_does_one_job_at_a_time_and_remembers_a_failure():
    changes, gate = [], threading.Event()
    worker = Worker(lambda: changes.append(worker.busy))
    assert worker.start(gate.wait)
    assert not worker.start(gate.wait) and worker.busy
    with worker.foreground() as is_free:
        assert not is_free
    gate.set()
    assert worker.wait(20) and changes == [True, False]
    assert worker.start(lambda: 1 / 0) and worker.wait(20)
    assert worker.failure == "ZeroDivisionError: division by zero" and not worker.busy
    with worker.foreground() as is_free:
        assert is_free and worker.failure == ""
