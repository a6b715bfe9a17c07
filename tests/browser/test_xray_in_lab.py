"""Notebook 04 and its X-ray in a real JupyterLab: the map grows with the text, stops, replays."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from helpers.in_lab import button, drag, handle_of, panel_of, set_slider, shoot, wait_until
from hermetic_lab import run_all

pytestmark = pytest.mark.browser

MAKE_XRAY = """import tempfile
from pathlib import Path
import llama_edu
from llama_edu.convert import convert
from llama_edu.show import PageMapWidget
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "stories.ggjt"
_ = convert(llama_edu.bundled_checkpoint(), path, to="ggjt-v1", type="keep")"""


#: Of the bundled model in this format.
N_PAGES = 2759


def source_of(panel):
    return panel.locator("img").get_attribute("src")


def n_steps(panel):
    found = re.search(r"(\d+) (?:of at most \d+ )?steps", panel.inner_text())
    return int(found[1]) if found else 0


def size_of(panel):
    """Width and height of the map's own pixels."""
    return panel.locator("img").evaluate("image => [image.naturalWidth, image.naturalHeight]")


@pytest.mark.timeout(100)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (800, True)])
def test_the_map_grows_with_the_text_stops_and_replays(run_cells, width, dark):
    page = run_cells(MAKE_XRAY, "PageMapWidget(path, n_tokens=100, temperature=1.0, pace=6)",
                     width=width, dark=dark)  # fmt: skip
    label = f"xray-{width}-{'dark' if dark else 'light'}"
    panel = panel_of(page, "page-map")
    panel.locator("textarea").fill("One sunny morning, a little")
    button(panel, "Generate").click()
    sources, texts = set(), set()

    def grown():
        if panel.locator("img").is_visible():
            sources.add(source_of(panel))
            texts.add(panel.locator("[role=log]").inner_text())
        return len(sources) >= 6 and len(texts) >= 6

    wait_until(grown)
    assert all(text.startswith("One sunny morning, a little") for text in texts)
    assert size_of(panel) > [100, 50]
    shoot(page, panel, f"{label}-mid-generation")

    button(panel, "Stop").click()
    pressed, n_pressed = time.monotonic(), n_steps(panel)
    wait_until(lambda: "steps, stopped" in panel.inner_text(), timeout_s=5)
    print(f"{label}: stopped after {time.monotonic() - pressed:.2f} s")
    n_stopped = n_steps(panel)
    assert n_pressed <= n_stopped <= n_pressed + 2 < 100, "it wrote on after Stop"

    finished, last_words = source_of(panel), panel.inner_text()
    handle = handle_of(panel, "replay")
    for _ in range(3):
        handle.press("ArrowLeft")
    wait_until(lambda: panel.locator("mark").count() == 1 and source_of(panel) != finished)
    assert panel.inner_text() != last_words
    shoot(page, panel, f"{label}-replayed")
    earlier = source_of(panel)
    set_slider(panel, "page", 40)
    wait_until(lambda: "page 40: bytes 163,840 to 167,935" in panel.inner_text())
    wait_until(lambda: source_of(panel) != earlier)
    # the sliders were made for a single step and a single page and grew: End must know
    handle.press("End")
    wait_until(lambda: panel.locator("mark").count() == 0)
    handle_of(panel, "page").press("End")
    wait_until(lambda: f"page {N_PAGES - 1:,}: bytes" in panel.inner_text())
    drag(page, handle, -150)
    wait_until(lambda: panel.locator("mark").count() == 1)
    drag(page, handle, 400)
    wait_until(lambda: panel.locator("mark").count() == 0)

    set_slider(panel, "length", 4)
    button(panel, "Generate").click()
    wait_until(lambda: re.search(r"\d steps, .*length", panel.inner_text()))
    assert n_steps(panel) <= 5
    shoot(page, panel, f"{label}-finished")
    assert page.foreign == [], "something was asked of another machine"


@pytest.mark.timeout(150)
def test_notebook_04_runs_and_its_map_advances(notebook):
    page = notebook("04_page_faults_and_sparsity.ipynb")
    cells = run_all(page)
    assert sum("image/png" in str(cell["outputs"]) for cell in cells) >= 2
    panel = panel_of(page, "page-map")
    shoot(page, panel, "04_page_faults_and_sparsity-finished")
    finished = source_of(panel)
    button(panel, "Generate").click()
    wait_until(lambda: "of at most" in panel.inner_text() and source_of(panel) != finished)
    first = source_of(panel)
    wait_until(lambda: source_of(panel) != first and n_steps(panel) > 2)
    shoot(page, panel, "04_page_faults_and_sparsity-mid-generation")
    button(panel, "Stop").click()
    wait_until(lambda: "steps, stopped" in panel.inner_text(), timeout_s=5)
    assert page.foreign == [], "something was asked of another machine"


MAKE_MIXTURE = """import tempfile
from pathlib import Path
from helpers.mixtures import write_mixture
from llama_edu.show import PageMapWidget
folder = tempfile.TemporaryDirectory()
path = write_mixture(Path(folder.name) / "moe.gguf", max_seq_len=40)"""


@pytest.mark.timeout(100)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (800, True)])
def test_a_mixture_has_lines_for_experts_and_a_strip_above_the_story(run_cells, width, dark):
    make = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{MAKE_MIXTURE}"
    page = run_cells(make, 'PageMapWidget(path, prompt="abc", n_tokens=12)', width=width, dark=dark)
    panel = panel_of(page, "page-map")
    button(panel, "Generate").click()
    wait_until(lambda: re.search(r"\d+ steps, ", panel.inner_text()))
    assert "of 7 experts in a layer" in panel.inner_text() and "expert 1" in panel.inner_text()
    finished = source_of(panel)
    panel.locator("select").first.select_option(index=3)
    wait_until(lambda: "not by this token" in panel.inner_text() and source_of(panel) != finished)
    newest = source_of(panel)
    handle_of(panel, "replay").press("ArrowLeft")
    wait_until(lambda: source_of(panel) != newest)
    assert panel.locator("table.llama-edu-routers tr").count() == 3
    shoot(page, panel, f"xray-experts-{width}-{'dark' if dark else 'light'}")
    assert page.foreign == [], "something was asked of another machine"


def page_shown(panel):
    return int(re.search(r"page ([\d,]+): bytes", panel.inner_text())[1].replace(",", ""))


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (800, True)])
def test_a_click_on_a_cell_shows_its_page_and_one_on_a_word_its_token(run_cells, width, dark):
    page = run_cells(MAKE_XRAY, "xray = PageMapWidget(path, n_tokens=8)\nxray",
                     "_ = xray.start().wait(60)", width=width, dark=dark)  # fmt: skip
    panel = panel_of(page, "page-map")
    wait_until(lambda: "8 steps" in panel.inner_text(), timeout_s=60)
    image = panel.locator("img")
    # cells of the bundled model: 9 pixels, 80 in a line, behind a strip of 16 pixels
    for column, y, expected in (
        (1, 3, 1), (40, 21, 42), (79, 21, 81), (5, 80, 265), (6, 80, 266), (5, 80, 265),
        (0, 150, 756),
    ):  # fmt: skip
        page.wait_for_timeout(500)  # a reader clicks when the picture rests
        image.scroll_into_view_if_needed()
        box = image.bounding_box()
        scale = box["width"] / size_of(panel)[0]
        page.mouse.click(box["x"] + (16 + 9 * column + 4.5) * scale, box["y"] + y * scale)
        wait_until(lambda expected=expected: page_shown(panel) == expected)
    shoot(page, panel, f"xray-clicks-{width}")
    button(panel, "was").first.click()
    wait_until(lambda: panel.locator("mark").count() == 1)
    button(panel, "this token, part by part").click()
    wait_until(lambda: "Within token" in panel.inner_text(), timeout_s=60)
    shoot(page, panel, f"xray-within-{width}")
