"""The steps panel in a real JupyterLab: view, layer, head and position are chosen by hand."""

from __future__ import annotations

import pytest
from helpers.in_lab import panel_of, set_slider, shoot, wait_until

pytestmark = pytest.mark.browser

MAKE_PANEL = """import llama_edu
from llama_edu.show import StepsPanel
llama = llama_edu.load(llama_edu.bundled_checkpoint())"""


def picture_of(panel):
    return panel.locator("img").get_attribute("alt")


@pytest.mark.timeout(100)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (800, True)])
def test_a_reader_looks_inside(run_cells, width, dark):
    text = "Once upon a time there was a small fox"
    page = run_cells(MAKE_PANEL, f"StepsPanel(llama, {text!r})", width=width, dark=dark)
    panel = panel_of(page, "steps")
    wait_until(lambda: (picture_of(panel) or "").startswith("Layer 0, 8 heads"))
    label = f"steps-{width}-{'dark' if dark else 'light'}"
    shoot(page, panel, f"{label}-attention")

    set_slider(panel, "layer", 3)
    wait_until(lambda: picture_of(panel).startswith("Layer 3, 8 heads"))
    panel.locator("select").nth(1).select_option(label="2")
    wait_until(lambda: picture_of(panel).startswith("Layer 3, head 2"))
    set_slider(panel, "position", 1)
    wait_until(lambda: "position 1, ' Once' looks at: " in panel.inner_text())

    panel.locator("select").first.select_option(label="what each layer would say")
    wait_until(lambda: picture_of(panel).startswith("A table: "))
    wait_until(lambda: "after each layer the likeliest next piece is" in panel.inner_text())
    shoot(page, panel, f"{label}-lens")
    panel.locator("select").first.select_option(label="size of x")
    wait_until(lambda: picture_of(panel).startswith("Left, the size of x"))
