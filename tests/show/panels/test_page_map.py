"""The model's X-ray with no front-end: the map, the words, and what the buttons do."""

from __future__ import annotations

import base64
import io
import threading

import numpy as np
import pytest
from helpers.panels import wait_for
from helpers.tiny import Turnstile, write_tiny

import llama_edu
from llama_edu.errors import MeasurementError, RequestError, ShapeError
from llama_edu.experiments.token_pages import observe_tokens
from llama_edu.files.layout import TensorSpec
from llama_edu.pages import touches as touches_module
from llama_edu.pages.faults import FaultCounts
from llama_edu.pages.lab import PageLab
from llama_edu.pages.record import Record
from llama_edu.pages.touches import Step, Touches, combined
from llama_edu.pages.verdict import Verdict
from llama_edu.show.figures.grid import PageGrid, scale_color, tensors_at
from llama_edu.show.figures.png import palette_png

pytest.importorskip("ipywidgets")
from llama_edu.show import PageMapWidget
from llama_edu.show.panels.page_map import widget as page_map_module

PAGE = 4096
EVIL = "<script>alert(1)</script>"


def record_of(pages, *, tensors=None, label="step", kind="exact", name="model.bin"):
    """A finished record with these pages touched, made by no instrument."""
    pages = np.array(pages, bool)
    specs = tensors or {"output": TensorSpec("output", "f32", (len(pages), 1024), 0,
                                             len(pages) * PAGE)}  # fmt: skip
    record = Record(label, name, len(pages) * PAGE, specs, PAGE, "by hand", "none")
    record.finish(pages, None, FaultCounts(1, 0), 0.5, Verdict(kind))
    return record


def random_steps(n_pages, n_steps, rng, **kwargs):
    return [Step(f" t{i}", record_of(rng.random(n_pages) < 0.3, **kwargs)) for i in range(n_steps)]


def decoded(png):
    """An independent reading of a PNG: (height, width, 4) uint8."""
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(png))
    return np.asarray(image.convert("RGBA"))


@pytest.fixture
def tiny(tmp_path, rng):
    """Arguments of PageMapWidget and of observe_tokens for a model of 27 pages."""
    path, tokenizer = write_tiny(tmp_path, rng)
    return {"path": path, "tokenizer": tokenizer}


@pytest.fixture
def make(maker, tiny):
    make = maker(PageMapWidget, prompt="the", n_tokens=5, tokenizer=tiny["tokenizer"])
    return lambda model=tiny["path"], **kwargs: make(model, **kwargs)


# the map


def test_a_png_is_read_back_as_the_colors_that_were_given(rng):
    colors = rng.integers(0, 256, (256, 4), dtype=np.uint8)
    pixels = rng.integers(0, 256, (13, 29), dtype=np.uint8)
    assert np.array_equal(decoded(palette_png(pixels, colors)), colors[pixels])


def test_pixels_that_have_no_color_are_refused():
    colors = np.zeros((3, 4), np.uint8)
    with pytest.raises(ShapeError, match="color 3 is used, expected 0 to 2"):
        palette_png(np.full((2, 2), 3, np.uint8), colors)
    with pytest.raises(ShapeError, match=r"expected \(height, width\) uint8"):
        palette_png(np.zeros(4, np.uint8), colors)
    with pytest.raises(ShapeError, match=r"colors are \(3, 3\), expected \(1 to 256, 4\)"):
        palette_png(np.zeros((2, 2), np.uint8), np.zeros((3, 3), np.uint8))


@pytest.mark.parametrize("n_pages", [1, 27, 3000, 100_000, 1_200_000])
def test_each_page_has_its_cell_in_file_order(n_pages, rng):
    record = record_of(np.zeros(n_pages, bool))
    grid = PageGrid(record)
    assert grid.columns * grid.rows * grid.pages_per_cell >= n_pages
    touched = int(rng.integers(n_pages))
    values = np.full(n_pages, -1, np.int32)
    values[touched] = 4
    image = decoded(grid.png(values, 5))
    assert image.shape == (grid.height, grid.width, 4)
    # the lower right pixel of a cell has its full color, whatever the gaps at its edges
    cells = image[grid.cell_px - 1 :: grid.cell_px, -grid.columns * grid.cell_px :]
    cells = cells[:, grid.cell_px - 1 :: grid.cell_px].reshape(-1, 4)
    wanted = np.frombuffer(bytes.fromhex(scale_color(4, 5)[1:]), np.uint8)
    found = np.flatnonzero((cells[:, :3] == wanted).all(1) & (cells[:, 3] == 255))
    assert found.tolist() == [touched // grid.pages_per_cell]


def test_the_picked_page_gets_a_frame_and_keeps_its_color():
    grid = PageGrid(record_of(np.zeros(300, bool)))
    values = np.full(300, -1, np.int32)
    plain, framed = (decoded(grid.png(values, 3, picked)) for picked in (None, 37))
    rows, columns = np.nonzero((plain != framed).any(2))
    row, column = divmod(37, grid.columns)
    left = grid.width - grid.columns * grid.cell_px + column * grid.cell_px
    assert abs(rows.mean() - (row + 0.5) * grid.cell_px) < grid.cell_px
    assert abs(columns.mean() - (left + 0.5 * grid.cell_px)) < grid.cell_px


def test_bands_are_named_by_layer_and_labels_never_lie_on_each_other():
    specs = [TensorSpec("token_embedding", "f32", (10, 1024), 0, 10 * PAGE)]
    for i in range(300):
        for kind in ("wq", "wk"):
            name = f"layers.{i}.{kind}"
            specs.append(TensorSpec(name, "f32", (10, 1024), specs[-1].end, 10 * PAGE))
    tensors = {spec.name: spec for spec in specs}
    grid = PageGrid(record_of(np.zeros(specs[-1].end // PAGE, bool), tensors=tensors))
    names = [band.name for band in grid.bands]
    assert names == ["token_embedding", *(f"layer {i}" for i in range(300))]
    tops = [top * grid.height for top, _ in grid.labels()]
    assert len(tops) > 3 and min(np.diff(tops)) >= 13


# what the colors say


@pytest.mark.parametrize("mode", touches_module.MODES)
def test_values_agree_with_a_slow_count_whatever_was_asked_before(mode, rng):
    steps = random_steps(40, 7, rng)
    touches = Touches(steps)
    for n_steps in (3, 7, 2, 5, 5):
        expected = []
        for page in range(40):
            by = [i for i in range(n_steps) if steps[i].record.pages[page]]
            answer = {"first": min(by, default=-1), "last": max(by, default=-1)}
            expected.append(answer.get(mode, len(by) - 1))
            assert touches.visits(page, n_steps) == by
        assert touches.values(mode, n_steps).tolist() == expected


def test_the_summary_counts_each_page_once_and_names_the_naive_reading():
    touches = Touches(
        [Step("a", record_of([1, 1, 0, 0, 0])), Step("b", record_of([0, 1, 1, 0, 0]))]
    )
    summary = touches.summary()
    assert (summary.n_touched, summary.n_pages, summary.touched_bytes) == (3, 5, 3 * PAGE)
    assert summary.true_line == "3 of 5 pages touched (60.0%), 12,288 bytes. Verdict: exact"
    assert summary.naive_line == "faults of a plain mapping: not counted so far"
    touches.plain_faults[2] = FaultCounts(2, 0)
    line = touches.summary().naive_line
    assert "faults: 2 minor + 0 major; times 4,096 bytes" in line and "40.0% of the file" in line
    assert "wrong as an amount of memory" in line
    assert touches.summary(1).faults is None and touches.summary(1).n_touched == 2


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["exact", "exact"], "exact"),
        (["exact", "lower bound"], "lower bound"),
        (["exact", "upper bound"], "upper bound"),
        (["upper bound", "lower bound"], "counts only"),
        (["exact", "computed, not measured"], "computed, not measured"),
    ],
)
def test_a_union_is_trusted_no_more_than_its_worst_part(kinds, expected):
    assert combined([Verdict(kind) for kind in kinds]).kind == expected


def test_records_that_do_not_belong_together_are_refused():
    touches = Touches([Step("a", record_of([1, 0]))])
    with pytest.raises(MeasurementError, match=r"records of model.bin and b.bin, expected all of"):
        touches.add(Step("b", record_of([1, 0], name="b.bin")))
    blind = Record("x", "model.bin", 2 * PAGE, {}, PAGE, "faults", "none")
    blind.finish(None, None, None, 0.1, Verdict("counts only"))
    with pytest.raises(MeasurementError, match="there are no pages to show"):
        touches.add(Step("b", blind))
    with pytest.raises(MeasurementError, match="no records, expected at least one"):
        PageMapWidget.of([])


def test_a_page_tells_its_rows():
    specs = {
        "a": TensorSpec("a", "f32", (6, 500), 100, 12000),
        "b": TensorSpec("b", "f32", (40,), 12100, 160),
    }
    record = record_of([1, 1, 1], tensors=specs)
    # rows of 2,000 bytes from byte 100 on: page 1 is bytes 4,096 to 8,191
    assert tensors_at(record, 1) == ["a, rows 1 to 4 of 6"]
    assert tensors_at(record, 2) == ["a, rows 4 to 5 of 6", "b, bytes 0 to 159 of its 160"]


# the widget


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
    assert len(widget.touches) == 4 and widget.touches.plain_faults == {4: seen.whole.plain_faults}
    assert f"{seen.whole.n_touched:,} of {seen.whole.n_pages:,} pages" in repr(widget)
    assert widget.start().wait(5) and len(widget.touches) == 4  # there is nothing to start
    whole = PageMapWidget.of([seen.whole])
    assert f"{seen.whole.n_touched:,} of" in repr(whole)


def test_what_stands_in_a_stored_notebook_needs_no_kernel(tiny, make):
    widget = make()
    bundle = widget._repr_mimebundle_()
    assert "nothing recorded yet" in bundle["text/plain"] and "image/png" not in bundle
    assert widget.start().wait(60)
    bundle = widget._repr_mimebundle_()
    assert decoded(base64.b64decode(bundle["image/png"])).shape[0] > 100
    text = bundle["text/plain"]
    assert text.startswith("PageMapWidget on tiny.bin, 5 steps: ") and "Verdict: " in text
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert widget.figure().alt == text


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
        with pytest.raises(RequestError, match="is writing already"):
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
    first, last = ("once", "6 times") if mode == "count" else ("prompt", "token 5")
    assert legend[0] == first and legend[-2:] == [last, "never"]
    assert decoded(drawn.png()).shape[2] == 4
