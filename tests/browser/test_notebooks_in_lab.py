"""Both notebooks in a real JupyterLab: run, type, Generate, watch, Stop, look."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

SCREENSHOTS = Path(__file__).resolve().parents[2] / "screenshots"
pytestmark = pytest.mark.browser
STATUS = re.compile(r"(\d+) new tokens")

RUN_ALL = """async () => {
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
    const cells = window.jupyterapp.shell.currentWidget.content.widgets;
    return cells.filter(cell => cell.model.type === 'code').map(cell => ({
        tags: cell.model.getMetadata('tags') ?? [],
        outputs: cell.model.outputs.toJSON(),
        source: cell.model.sharedModel.source,
    }));
}"""


def run_all(page):
    """Run every cell; fail on an error output that was not announced by a tag."""
    cells = page.evaluate(RUN_ALL)
    for cell in cells:
        errors = [o for o in cell["outputs"] if o["output_type"] == "error"]
        expected = "raises-exception" in cell["tags"]
        assert bool(errors) == expected, (cell["source"], errors)
    return cells


def panel_of(page):
    panel = page.locator(".llama-edu-generation")
    panel.wait_for(timeout=20_000)
    panel.scroll_into_view_if_needed()
    return panel


def text_of(panel):
    return panel.locator("pre[role=log]").inner_text()


def wait_until(condition, timeout_s=20.0, step_s=0.02):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(step_s)


def set_slider(panel, label, value):
    """Type into the number beside a slider, as a reader may."""
    row = panel.locator(".widget-slider", has_text=label)
    readout = row.locator(".widget-readout")
    readout.click()
    readout.fill(str(value))
    readout.press("Enter")


def button(panel, name):
    return panel.locator("button", has_text=name)


def shoot(page, panel, name):
    SCREENSHOTS.mkdir(exist_ok=True)
    panel.evaluate("node => node.scrollIntoView({block: 'center'})")
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size > 20_000, "the screenshot is empty"


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        ("00_start_here", 1280, False),
        ("00_start_here", 800, True),
        ("03_generation", 1280, True),
        ("03_generation", 800, False),
    ],
)
def test_a_notebook_runs_and_its_widget_streams_stops_and_starts_again(notebook, name, width, dark):
    page = notebook(f"{name}.ipynb", width=width, dark=dark)
    label = f"{name}-{width}-{'dark' if dark else 'light'}"
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{label}-opened.png")
    run_all(page)
    panel = panel_of(page)
    shoot(page, panel, f"{label}-finished")

    assert panel.locator("select").first.input_value() == "choose a beginning"
    panel.locator("textarea").first.fill("One sunny morning, a little")
    set_slider(panel, "length", 400)
    set_slider(panel, "temperature", 1.5)
    set_slider(panel, "top-k", 0)
    set_slider(panel, "pace", 20)
    button(panel, "Generate").click()
    wait_until(lambda: text_of(panel).startswith("One sunny morning, a little"))
    for _ in range(3):
        length = len(text_of(panel))
        wait_until(lambda seen=length: len(text_of(panel)) > seen)
    assert "writing" in panel.inner_text(), "the text ended too soon to see it grow"
    shoot(page, panel, f"{label}-mid-generation")

    button(panel, "Stop").click()
    pressed = time.monotonic()
    wait_until(lambda: "stopped" in panel.inner_text(), timeout_s=5)
    stop_s = time.monotonic() - pressed
    print(f"{label}: stopped after {stop_s:.2f} s")
    stopped = text_of(panel)
    shoot(page, panel, f"{label}-stopped")
    time.sleep(0.5)
    assert text_of(panel) == stopped, "text came after Stop"
    assert 0 < int(STATUS.search(panel.inner_text())[1]) < 400

    before = panel.locator("mark").inner_text()
    set_slider(panel, "new token no.", 12)
    wait_until(lambda: "was chosen" in panel.inner_text() and panel.locator("mark").count() == 1)
    wait_until(lambda: panel.locator("mark").inner_text() != before or before == "")
    shoot(page, panel, f"{label}-token-12")

    set_slider(panel, "length", 30)
    set_slider(panel, "pace", 0)
    button(panel, "Generate").click()
    wait_until(lambda: re.search(r"30 new tokens.*length", panel.inner_text()))
    assert page.foreign == [], "something was asked of another machine"


@pytest.mark.timeout(100)
def test_an_unrun_notebook_shows_words_where_the_widget_will_be(notebook):
    page = notebook("00_start_here.ipynb")
    output = page.locator(".jp-OutputArea-output", has_text="nothing written yet")
    output.scroll_into_view_if_needed()
    assert output.count() == 1
    assert "Error displaying widget" not in page.inner_text("body")
    page.screenshot(path=SCREENSHOTS / "unrun.png")
