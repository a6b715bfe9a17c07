"""Take a screenshot for the README: the studio or the X-ray in JupyterLab after a story.

    python tools/take_screenshot.py            # writes docs/studio.png
    python tools/take_screenshot.py xray       # writes docs/xray.png

Needs the `browser` extra and Debian's chromium; see hermetic_lab.py. Prompt, seed and settings are
fixed: the text depends on the weights alone, the speed shown on the machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from hermetic_lab import ROOT, chromium, hermetic_lab, run_all

MOST_BYTES = 250_000
#: CSS pixels; the image has SCALE times as many, 1,280 in width.
PANEL_WIDTH, MARGIN, SCALE = 836, 8, 1280 / 852
HIDDEN = """.jp-Cell-inputWrapper, .jp-OutputPrompt, .jp-Collapser,
.jupyter-widgets.widget-accordion {display: none !important}
.jp-Notebook, .jp-Cell {border: none !important; box-shadow: none !important}"""
STUDIO = """from llama_edu.show import GenerationStudio
studio = GenerationStudio(n_tokens=110, temperature=0.9, seed=4, prompt="One day, a little fox")
studio"""
XRAY = """import tempfile
from pathlib import Path
import llama_edu
from llama_edu.convert import convert
from llama_edu.show import PageMapWidget
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "stories.ggjt"
_ = convert(llama_edu.bundled_checkpoint(), path, to="ggjt-v1", type="keep")
xray = PageMapWidget(path, n_tokens=40)
xray"""
#: Name of a screenshot -> the cell that makes the widget, the name of the panel's class.
PICTURES = {"studio": (STUDIO, "generation"), "xray": (XRAY, "page-map")}


def take(name: str, page: Any, path: Path) -> None:
    """Run the widget in an open page and take a screenshot of its panel."""
    run_all(page)
    panel = page.locator(f".llama-edu-{PICTURES[name][1]}")
    panel.locator("button", has_text="Generate").click()
    page.wait_for_timeout(500)
    wait_for_end(panel)
    if name == "studio":
        panel.locator("button[title='Look at new token no. 1']").click()
        panel.locator("button", has_text="What would have followed?").click()
        page.wait_for_timeout(3000)
    # the image shows the panel alone: hide what is beside and above it
    page.evaluate("() => window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.add_style_tag(content=HIDDEN)
    page.wait_for_timeout(500)
    missing = PANEL_WIDTH - panel.bounding_box()["width"]
    size = page.viewport_size
    page.set_viewport_size({"width": round(size["width"] + missing), "height": size["height"]})
    page.mouse.move(0, 0)
    page.wait_for_timeout(800)
    box = panel.bounding_box()
    path.parent.mkdir(exist_ok=True)
    clip = {"x": box["x"] - MARGIN, "y": box["y"] - MARGIN,
            "width": box["width"] + 2 * MARGIN, "height": box["height"] + 2 * MARGIN}  # fmt: skip
    page.screenshot(path=path, clip=clip)
    n_bytes = path.stat().st_size
    print(f"{path.relative_to(ROOT)}: {n_bytes:,} bytes")
    assert n_bytes < MOST_BYTES, f"{path.name} has {n_bytes:,} bytes, expected < {MOST_BYTES:,}"


def wait_for_end(panel: Any) -> None:
    """Wait until Generate can be pressed again."""
    deadline = time.monotonic() + 60
    while panel.locator("button", has_text="Generate").is_disabled():
        assert time.monotonic() < deadline, "the text does not end"
        time.sleep(0.1)


def main() -> None:
    """Take one screenshot in a fresh JupyterLab."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", choices=list(PICTURES), default="studio")
    name = parser.parse_args().name
    with (
        tempfile.TemporaryDirectory() as home,
        hermetic_lab(Path(home)) as lab,
        chromium() as browser,
    ):
        lab.put_notebook("made.ipynb", (PICTURES[name][0],))
        context = browser.new_context(
            viewport={"width": 1100, "height": 1400}, device_scale_factor=SCALE
        )
        take(name, lab.open(context, "made.ipynb"), ROOT / "docs" / f"{name}.png")


if __name__ == "__main__":
    main()
