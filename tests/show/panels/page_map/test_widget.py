"""The page map with no front end: the map, the text, and what the buttons do."""

from __future__ import annotations

import base64
import threading

import numpy as np
import pytest
from helpers.mixtures import write_mixture
from helpers.panels import wait_for
from helpers.records import PAGE, decoded, random_steps, record_of
from helpers.tiny import Turnstile, write_tiny

import llama_edu
from llama_edu.errors import MeasurementError, RequestError
from llama_edu.experiments.token_pages import observe_tokens
from llama_edu.files.layout import TensorSpec
from llama_edu.pages import touches as touches_module
from llama_edu.pages.faults import FaultCounts
from llama_edu.pages.lab import PageLab
from llama_edu.pages.touches import Step

pytest.importorskip("ipywidgets")
from llama_edu.show import PageMapWidget
from llama_edu.show.panels.page_map import widget as page_map_module

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def tiny(tmp_path, rng):
    """Arguments of PageMapWidget and of observe_tokens for a model of 27 pages."""
    path, tokenizer = write_tiny(tmp_path, rng)
    return {"path": path, "tokenizer": tokenizer}


@pytest.fixture
def make(maker, tiny):
    make = maker(PageMapWidget, prompt="the", n_tokens=5, tokenizer=tiny["tokenizer"])
    return lambda model=tiny["path"], **kwargs: make(model, **kwargs)


def test_the_steps_agree_with_the_experiment_that_was_tested_before(tiny, make):
    expected = observe_tokens(tiny["path"], "the", 5, tokenizer=tiny["tokenizer"], per_token=True,
                              settings=page_map_module.SamplingSettings(0.0))  # fmt: skip
    widget = make()
    assert widget.start() is widget and widget.wait(60)
    assert widget.reason == "length" and widget.text == "the" + expected.text
    assert len(widget.touches) == len(expected.steps)
    for step, other in zip(widget.touches.steps, expected.steps, strict=True):
        assert step.text == other.text
        assert np.array_equal(step.record.pages, other.record.pages)
    # a plain mapping's faults, known after each step, and never falling
    counts = [widget.touches.plain_faults[n].total for n in range(1, 6)]
    assert counts == sorted(counts)


def test_an_observation_is_shown_without_a_model(tiny):
    seen = observe_tokens(tiny["path"], "the", 4, tokenizer=tiny["tokenizer"], per_token=True)
    widget = PageMapWidget.of(seen)
    assert widget.controls.making.layout.display == "none"
    assert len(widget.touches) == 4 and sorted(widget.touches.plain_faults) == [1, 2, 3, 4]
    for n_steps in (1, 3):  # the reading of 2023 follows the slider
        widget.controls.step_slider.value = n_steps
        assert str(widget.touches.plain_faults[n_steps]) in widget.controls.totals.value
    widget.controls.step_slider.value = 4
    assert f"{seen.whole.n_touched:,} of {seen.whole.n_pages:,} pages" in repr(widget)
    assert widget.start().wait(5) and len(widget.touches) == 4  # there is nothing to start
    whole = PageMapWidget.of([seen.whole])
    assert f"{seen.whole.n_touched:,} of" in repr(whole)
    with pytest.raises(MeasurementError, match="no records, expected at least one"):
        PageMapWidget.of([])


def test_what_stands_in_a_stored_notebook_needs_no_kernel(tiny, make):
    widget = make()
    bundle, _ = widget._repr_mimebundle_()
    assert "nothing recorded yet" in bundle["text/plain"] and "image/png" not in bundle
    assert widget.start().wait(60)
    bundle, metadata = widget._repr_mimebundle_()
    assert decoded(base64.b64decode(bundle["image/png"])).shape[0] > 100
    text = bundle["text/plain"]
    assert text.startswith("PageMapWidget on tiny.bin, 5 steps: ") and "Verdict: " in text
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert widget.figure().alt == text == metadata["image/png"]["alt"]


def test_every_control_changes_the_map(make):
    widget = make()
    assert widget.start().wait(60)
    controls = widget.controls
    frames = {controls.frame.value}
    controls.mode.value = "last"
    frames.add(controls.frame.value)
    controls.mode.value = "count"
    frames.add(controls.frame.value)
    controls.tensor.value = dict(controls.tensor.options)["output"]
    frames.add(controls.frame.value)
    assert "output, rows 0 to" in controls.page.value
    controls.mode.value = "last"
    controls.step_slider.value = 1
    frames.add(controls.frame.value)
    assert len(frames) == 5
    assert "1 steps: " in repr(widget) and controls.story.value.count("<mark") == 1


def test_frames_follow_the_clock_and_not_the_token(make, monkeypatch):
    widget = make(n_tokens=20)
    monkeypatch.setattr(page_map_module, "FRAME_INTERVAL_S", 1e9)
    assert widget.start().wait(60)
    assert widget.view.n_frames <= 3
    few = widget.view.n_frames
    monkeypatch.setattr(page_map_module, "FRAME_INTERVAL_S", 0.0)
    assert widget.start().wait(60)
    assert widget.view.n_frames - few >= 20


def test_stop_ends_before_the_next_token_and_keeps_what_was_seen(tiny, make, monkeypatch):
    with PageLab.open(tiny["path"]) as lab:
        llama = llama_edu.load(tiny["path"], tokenizer=tiny["tokenizer"], lab=lab)
        turnstile = Turnstile(llama, monkeypatch)
        widget = make(llama, n_tokens=20)
        widget.controls.generate_button.click()
        assert widget.controls.generate_button.disabled
        turnstile.let_pass(3)
        wait_for(lambda: len(widget.touches) >= 3)
        with pytest.raises(RequestError, match="is already writing"):
            widget.run()
        widget.controls.stop_button.click()
        turnstile.let_pass(10)
        assert widget.wait(20)
        assert 3 <= len(widget.touches) <= 4 and widget.reason == "stopped"
        assert not widget.controls.generate_button.disabled
        assert "stopped" in widget.controls.status.value
        monkeypatch.undo()
        assert widget.start().wait(60) and widget.reason == "length"  # and again
        llama.close()
        del turnstile


def test_clicks_on_two_threads_start_one_text(make, monkeypatch):
    widget = make()
    begun, clicked = [], threading.Event()
    original = widget._open

    def open_after_all_clicks(stack):
        begun.append(1)
        assert clicked.wait(20)  # a text that has ended would let a late click start the next
        return original(stack)

    monkeypatch.setattr(widget, "_open", open_after_all_clicks)
    clicks = [threading.Thread(target=widget.controls.generate_button.click) for _ in range(4)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    clicked.set()
    assert widget.wait(60) and widget.reason == "length"
    assert begun == [1]


def test_a_cell_that_runs_again_stops_its_earlier_map(tiny, make, monkeypatch):
    from llama_edu.show.runtime import same_cell

    monkeypatch.setattr(same_cell, "_made", {})
    runs = iter([("cell-1", "run-1"), ("cell-2", "run-2"), ("cell-1", "run-3")])
    monkeypatch.setattr(same_cell, "_cell_and_run", lambda: next(runs))
    with PageLab.open(tiny["path"]) as lab:
        llama = llama_edu.load(tiny["path"], tokenizer=tiny["tokenizer"], lab=lab)
        turnstile = Turnstile(llama, monkeypatch)
        first = make(llama, n_tokens=20).start()
        make(n_tokens=20)
        assert not first._worker.stopping.is_set()
        make(llama, n_tokens=20)
        turnstile.let_pass(30)
        assert first.wait(20) and first.reason == "stopped" and len(first.touches) <= 1
        llama.close()
        del turnstile


def test_a_panel_of_records_has_nothing_to_run(tiny):
    seen = observe_tokens(tiny["path"], "the", 2, tokenizer=tiny["tokenizer"], per_token=True)
    with pytest.raises(RequestError, match="shows records, expected a model to write with"):
        PageMapWidget.of(seen).run()


def test_run_prints_what_start_writes(make, capsys):
    widget = make()
    assert widget.start().wait(60)
    background = widget.text
    assert widget.run() == background
    assert capsys.readouterr().out == background + "\n"


def test_an_interrupted_run_leaves_the_file_closed_and_can_be_repeated(make, monkeypatch, capsys):
    widget = make(n_tokens=20)
    original = page_map_module.TokenSteps.__iter__

    def interrupted(self):
        for n, step in enumerate(original(self)):
            yield step
            if n == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(page_map_module.TokenSteps, "__iter__", interrupted)
        widget.run()
    assert widget.reason == "stopped" and len(widget.touches) == 3
    widget.run()
    assert widget.reason == "length"


def test_what_cannot_be_done_is_said_in_the_panel(tmp_path, tiny, make):
    missing = make(tmp_path / "nothing.bin")
    assert missing.start().wait(20)
    assert "nothing.bin: no such file" in missing.controls.status.value
    assert missing.reason.startswith("failed: ") and "no such file" in repr(missing)
    long = make(prompt="the " * 60)
    assert long.start().wait(20) and "shorten it" in long.reason
    plain = llama_edu.load(tiny["path"], tokenizer=tiny["tokenizer"])
    with plain, pytest.raises(RequestError, match="the model was loaded without a lab"):
        PageMapWidget(plain)


def test_names_from_a_file_are_never_markup(tmp_path):
    tensors = {EVIL: TensorSpec(EVIL, "f32", (3, 1024), 0, 3 * PAGE)}
    steps = [
        Step("<img src=x>", record_of([1, 0, 1], tensors=tensors, name=EVIL + ".bin")),
        Step(EVIL, record_of([1, 1, 0], tensors=tensors, name=EVIL + ".bin")),
    ]
    widget = PageMapWidget.of(steps)
    controls = widget.controls
    for n_steps in (1, 2):
        controls.step_slider.value = n_steps
        parts = (controls.labels, controls.status, controls.story, controls.totals,
                 controls.legend, controls.page)  # fmt: skip
        everything = "".join(part.value for part in parts)
        assert "<script" not in everything and "<img" not in everything
        assert "&lt;script&gt;" in everything
    assert widget.figure().png()


@pytest.mark.parametrize("mode", touches_module.MODES)
def test_the_stored_figure_names_bands_colors_and_both_readings(mode, rng):
    widget = PageMapWidget.of(random_steps(300, 6, rng, name="a $x$ b.bin"))
    widget.touches.plain_faults[6] = FaultCounts(7, 0)
    widget.controls.mode.value = mode
    drawn = widget.figure()
    axes = drawn.figure.axes[0]
    assert axes.get_title("left").startswith(r"a \$x\$ b.bin: ")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["output"]
    words = "\n".join(text.get_text() for text in drawn.figure.texts)
    assert "Verdict: exact" in words and "faults: 7 minor" in words
    legend = [text.get_text() for text in drawn.figure.legends[0].get_texts()]
    if mode == "now":
        assert legend == ["token 5", "not by this token"] and "token 5: " in words
        return
    first, last = ("once", "6 times") if mode == "count" else ("prompt", "token 5")
    assert legend[0] == first and legend[-2:] == [last, "never"]
    assert decoded(drawn.png()).shape[2] == 4


def test_faults_are_counted_with_the_context_that_was_stated(tiny):
    with PageLab.open(tiny["path"]) as lab:
        short = llama_edu.load(tiny["path"]).config.max_seq_len
        llama = llama_edu.load(
            tiny["path"], tokenizer=tiny["tokenizer"], lab=lab, context=short + 40
        )
        widget = PageMapWidget(llama, prompt="the", n_tokens=short + 20)
        assert widget.start().wait(120) and widget.reason == "length"
        assert len(widget.touches.plain_faults) == len(widget.touches)
        widget.close()
        llama.close()


def test_a_mixture_has_a_strip_of_its_experts_above_the_story(tmp_path, make):
    path = write_mixture(tmp_path / "moe.gguf", max_seq_len=40)
    widget = make(path, tokenizer=None, prompt="abc", n_tokens=5)
    assert widget.start().wait(60) and len(widget.touches) > 2
    controls = widget.controls
    assert "experts that computed each token: of 7 experts in a layer" in controls.routers.value
    assert controls.routers.value.count("writing-mode") == len(widget.touches)
    controls.mode.value = "now"
    assert "not by this token" in controls.legend.value and "this token" in controls.totals.value
    assert controls.story.value.count("<mark") == 1  # at the newest step as well
    newest = controls.frame.value
    controls.step_slider.value = 2
    assert controls.routers.value.count("writing-mode") == 2 and controls.frame.value != newest
    drawn = widget.figure().figure
    assert "which experts this token chose" in drawn.axes[0].get_title("left")
    assert "expert 1" in [label.get_text() for label in drawn.axes[0].get_yticklabels()]


def test_a_dense_model_has_no_strip(make):
    widget = make()
    assert widget.start().wait(60) and widget.controls.routers.value == ""
