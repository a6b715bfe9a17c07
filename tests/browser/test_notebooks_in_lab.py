"""Notebooks in a real JupyterLab: run, type, Generate, watch, Stop, look."""

from __future__ import annotations

import re
import time

import pytest
from helpers.in_lab import (
    STATUS,
    assert_no_error_box,
    button,
    handle_of,
    panel_of,
    set_slider,
    shoot,
    shoot_page,
    text_of,
    wait_until,
)
from hermetic_lab import run_all

pytestmark = pytest.mark.browser


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("name", "width", "dark"), [("00_start_here", 1280, False), ("03_generation", 800, True)]
)
def test_a_notebook_runs_and_its_widget_streams_stops_and_starts_again(notebook, name, width, dark):
    page = notebook(f"{name}.ipynb", width=width, dark=dark)
    label = f"{name}-{width}-{'dark' if dark else 'light'}"
    shoot_page(page, f"{label}-opened")
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
    print(f"{label}: stopped after {time.monotonic() - pressed:.2f} s")
    stopped = text_of(panel)
    shoot(page, panel, f"{label}-stopped")
    time.sleep(0.5)
    assert text_of(panel) == stopped, "text came after Stop"
    assert 0 < int(STATUS.search(panel.inner_text())[1]) < 400

    handle_of(panel, "new token no.").press("End")
    last = STATUS.search(panel.inner_text())[1]
    readout = panel.locator(".widget-slider", has_text="new token no.").locator(".widget-readout")
    wait_until(lambda: readout.inner_text() == last)
    before = panel.locator("mark").inner_text()
    set_slider(panel, "new token no.", 3)
    wait_until(lambda: "was chosen" in panel.inner_text() and panel.locator("mark").count() == 1)
    wait_until(lambda: panel.locator("mark").inner_text() != before or before == "")
    shoot(page, panel, f"{label}-token-3")

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
    assert_no_error_box(page)
    shoot_page(page, "unrun")
