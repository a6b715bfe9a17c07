"""The studio and the comparison in a real JupyterLab: write, stop, go on, look ahead, save."""

from __future__ import annotations

import re
import time

import pytest
from helpers.in_lab import (
    STATUS,
    button,
    panel_of,
    set_slider,
    shoot,
    shoot_page,
    text_of,
    wait_until,
)
from hermetic_lab import run_all

pytestmark = pytest.mark.browser


def n_new(panel):
    found = STATUS.search(panel.inner_text())
    return int(found[1]) if found else 0


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("width", "dark"), [(1280, True), (800, False)])
def test_write_stop_go_on_look_ahead_and_take_another_way(run_cells, width, dark):
    page = run_cells(
        "from llama_edu.show import GenerationStudio",
        "studio = GenerationStudio(n_tokens=300, temperature=1.2, pace=15)\nstudio",
        width=width, dark=dark,
    )  # fmt: skip
    label = f"studio-{width}-{'dark' if dark else 'light'}"
    panel = panel_of(page)
    panel.locator("textarea").first.fill("One sunny morning, a little")
    button(panel, "Generate").click()
    wait_until(lambda: n_new(panel) > 0)
    for _ in range(3):
        length = len(text_of(panel))
        wait_until(lambda seen=length: len(text_of(panel)) > seen)
    shoot(page, panel, f"{label}-mid-generation")

    button(panel, "Stop").click()
    pressed = time.monotonic()
    wait_until(lambda: "stopped" in panel.inner_text(), timeout_s=5)
    print(f"{label}: stopped after {time.monotonic() - pressed:.2f} s")
    stopped, n_stopped = text_of(panel), n_new(panel)
    time.sleep(0.4)
    assert text_of(panel) == stopped

    set_slider(panel, "length", 20)
    set_slider(panel, "pace", 0)
    button(panel, "Continue").click()
    wait_until(lambda: re.search(rf"{n_stopped + 20} new tokens.*length", panel.inner_text()))
    assert text_of(panel).startswith(stopped) and len(text_of(panel)) > len(stopped)

    set_slider(panel, "new token no.", 6)
    wait_until(lambda: "was chosen" in panel.inner_text())
    panel.locator("button[title='Look at new token no. 8']").click()
    wait_until(lambda: panel.locator("button.mod-info").get_attribute("title").endswith("no. 8"))
    button(panel, "What would have followed?").click()
    wait_until(lambda: "and then, greedily" in panel.inner_text())
    wait_until(lambda: "…" not in panel.locator("table").inner_text())
    shoot(page, panel, f"{label}-alternatives")

    marked = panel.locator("mark").inner_text()
    button(panel, "Write on from here").click()
    wait_until(lambda: re.search(r"28 new tokens.*length", panel.inner_text()))
    wait_until(lambda: panel.locator("mark").inner_text() != marked)

    page.get_by_text("Copy or save the text").click()
    name = panel.locator("input[type=text]").first
    name.fill(f"{label}.txt")
    name.press("Enter")
    button(panel, "Save").click()
    wait_until(lambda: "bytes written" in panel.inner_text())
    button(panel, "Save").click()
    refusal = "already exists and was not changed"
    wait_until(lambda: refusal in panel.inner_text())
    shoot(page, panel, f"{label}-saving", expected_alert=refusal)
    page.get_by_text("Open another model").click()
    wait_until(lambda: panel.locator("text=your folder").is_visible())
    panel.evaluate("node => node.scrollIntoView({block: 'end'})")
    shoot_page(page, f"{label}-chooser", expected_alert=refusal)
    assert page.foreign == [], "something was asked of another machine"


@pytest.mark.timeout(100)
@pytest.mark.parametrize(("width", "dark"), [(1280, False)])
def test_two_weight_types_side_by_side(run_cells, width, dark):
    page = run_cells(
        "from llama_edu.show import ComparisonWidget",
        "ComparisonWidget(n_tokens=50)",
        width=width, dark=dark,
    )  # fmt: skip
    panel = panel_of(page, "comparison")
    button(panel, "Compare").click()
    wait_until(lambda: panel.inner_text().count("the requested length is reached") == 2)
    assert "new tokens are the same; then" in panel.inner_text()
    assert panel.locator("mark").count() == 2
    shoot(page, panel, f"comparison-{width}-{'dark' if dark else 'light'}")


RUN_AGAIN = """async () => {
    const {commands, shell} = window.jupyterapp, notebook = shell.currentWidget.content;
    const text = () => notebook.activeCell.outputArea.node.innerText;
    notebook.activeCellIndex = 1;
    await commands.execute('notebook:run-cell');
    notebook.activeCellIndex = 2;
    await commands.execute('notebook:run-cell');
    return text();
}"""


@pytest.mark.timeout(100)
def test_a_cell_that_runs_again_stops_the_text_it_began_before(run_cells):
    page = run_cells(
        "from llama_edu.show import GenerationStudio\nmade = []",
        "made.append(GenerationStudio(n_tokens=1500, pace=3).start())\nmade[-1]",
        "made[-1].stop()\n_ = [studio.wait(20) for studio in made]\n"
        "print([studio.reason for studio in made])",
    )
    # the first run of the last cell stopped the only studio: begin another, then one more
    page.evaluate(RUN_AGAIN.replace("notebook.activeCellIndex = 2;", "return '';"))
    assert page.evaluate(RUN_AGAIN).strip() == "['stopped', 'stopped', 'stopped']"


RUN_LAST = """async source => {
    const {commands, shell} = window.jupyterapp, notebook = shell.currentWidget.content;
    notebook.activeCellIndex = notebook.widgets.length - 1;
    notebook.activeCell.model.sharedModel.setSource(source);
    await commands.execute('notebook:run-cell');
    return notebook.activeCell.outputArea.node.innerText.trim();
}"""


@pytest.mark.timeout(100)
def test_a_page_that_is_closed_stops_the_text_that_it_showed(run_cells, notebook):
    page = run_cells(
        "from llama_edu.show import GenerationStudio\nfrom llama_edu.show.runtime import presence\n"
        "presence.ASK_INTERVAL_S, presence.PATIENCE_S = 0.3, 1.2",
        "studio = GenerationStudio(n_tokens=1500, pace=20)\nstudio",
        "pass",
    )
    panel = panel_of(page)
    button(panel, "Generate").click()
    wait_until(lambda: n_new(panel) > 0)
    time.sleep(3)
    assert "writing" in panel.inner_text(), "it stopped although its page is there"
    # a cell that keeps the kernel busy for longer than the patience is no closed page either
    busy = page.evaluate(RUN_LAST, "import time; time.sleep(3); print(studio.wait(0))")
    assert busy == "False"
    page.context.close()
    page = notebook("made.ipynb")
    assert page.evaluate(RUN_LAST, "print(studio.wait(30), studio.reason)") == "True stopped"


RESTART = """async () => {
    const {sessionContext} = window.jupyterapp.shell.currentWidget.context;
    await sessionContext.restartKernel();
}"""


@pytest.mark.timeout(100)
def test_a_restarted_kernel_begins_anew(run_cells):
    page = run_cells(
        "from llama_edu.show import GenerationStudio",
        "studio = GenerationStudio(n_tokens=1500, pace=20)\nstudio",
    )
    button(panel_of(page), "Generate").click()
    wait_until(lambda: n_new(panel_of(page)) > 0)
    page.evaluate(RESTART)
    run_all(page)
    panel = panel_of(page)
    wait_until(lambda: "Press Generate." in panel.inner_text())
    assert page.locator(".llama-edu-generation").count() == 1
    assert text_of(panel) == "The text will appear here."
    button(panel, "Generate").click()
    wait_until(lambda: n_new(panel) > 5)
    button(panel, "Stop").click()
    wait_until(lambda: "stopped" in panel.inner_text(), timeout_s=5)
