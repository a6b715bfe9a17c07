"""The studio and the comparison in a real JupyterLab: write, stop, go on, look ahead, save."""

from __future__ import annotations

import json
import re
import time
import urllib.request

import numpy as np
import pytest
from small_models import llama2c_v0, old_config, random_weights, small_vocabulary, tokenizer_bin
from test_notebooks_in_lab import (
    SCREENSHOTS,
    STATUS,
    button,
    panel_of,
    run_all,
    set_slider,
    shoot,
    text_of,
    wait_until,
)

pytestmark = pytest.mark.browser
LOOKS = [(1280, False), (800, True), (1280, True), (800, False)]


@pytest.fixture
def run_cells(lab, notebook):
    """A function that puts code cells into a new notebook, opens it and runs them."""
    address, token = lab

    def run(*sources, **look):
        cells = [
            {"cell_type": "code", "id": f"cell-{n}", "source": source, "metadata": {},
             "outputs": [], "execution_count": None}
            for n, source in enumerate(sources)
        ]  # fmt: skip
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        content = {"cells": cells, "metadata": {"kernelspec": kernel},
                   "nbformat": 4, "nbformat_minor": 5}  # fmt: skip
        body = json.dumps({"type": "notebook", "format": "json", "content": content}).encode()
        request = urllib.request.Request(
            f"{address}/api/contents/studio.ipynb?token={token}", body, method="PUT"
        )
        urllib.request.urlopen(request, timeout=20).close()
        page = notebook("studio.ipynb", **look)
        run_all(page)
        return page

    return run


def n_new(panel):
    found = STATUS.search(panel.inner_text())
    return int(found[1]) if found else 0


@pytest.mark.timeout(200)
@pytest.mark.parametrize(("width", "dark"), LOOKS[2:])
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
    pressed = time.monotonic()
    wait_until(lambda: n_new(panel) > 0)
    first_s = time.monotonic() - pressed
    for _ in range(3):
        length = len(text_of(panel))
        wait_until(lambda seen=length: len(text_of(panel)) > seen)
    shoot(page, panel, f"{label}-mid-generation")

    button(panel, "Stop").click()
    pressed = time.monotonic()
    wait_until(lambda: "stopped" in panel.inner_text(), timeout_s=5)
    stop_s = time.monotonic() - pressed
    print(f"{label}: first text after {first_s:.2f} s, stopped after {stop_s:.2f} s")
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
    assert panel.locator("mark").inner_text() != marked

    page.get_by_text("Copy or save the text").click()
    name = panel.locator("input[type=text]").first
    name.fill(f"{label}.txt")
    name.press("Enter")
    button(panel, "Save").click()
    wait_until(lambda: "bytes written" in panel.inner_text())
    button(panel, "Save").click()
    wait_until(lambda: "exists already and was not touched" in panel.inner_text())
    shoot(page, panel, f"{label}-saving")
    page.get_by_text("Open another model").click()
    wait_until(lambda: panel.locator("text=your folder").is_visible())
    panel.evaluate("node => node.scrollIntoView({block: 'end'})")
    page.screenshot(path=SCREENSHOTS / f"{label}-chooser.png")
    assert page.foreign == [], "something was asked of another machine"


@pytest.mark.timeout(100)
@pytest.mark.parametrize(("width", "dark"), LOOKS[:2])
def test_two_weight_types_side_by_side(run_cells, width, dark):
    page = run_cells(
        "from llama_edu.show import ComparisonWidget",
        "ComparisonWidget(n_tokens=50)",
        width=width, dark=dark,
    )  # fmt: skip
    panel = page.locator(".llama-edu-comparison")
    panel.wait_for(timeout=20_000)
    button(panel, "Compare").click()
    wait_until(lambda: panel.inner_text().count("the length asked for is reached") == 2)
    assert "new tokens are the same; then" in panel.inner_text()
    assert panel.locator("mark").count() == 2
    shoot(page, panel, f"comparison-{width}-{'dark' if dark else 'light'}")


@pytest.mark.timeout(100)
def test_a_vocabulary_full_of_markup_runs_no_script(run_cells, tmp_path):
    evil = b"<img src=x onerror='window.stolen=1'><script>window.stolen=1</script>\x1b[31m"
    config = old_config(vocab_size=271)
    weights = random_weights(config, np.random.default_rng(1))
    weights["output"][1:3] = 0
    model, tokenizer = tmp_path / "<b>evil.bin", tmp_path / "tokenizer.bin"
    model.write_bytes(llama2c_v0(config, weights))
    pieces = [(piece, s) if n < 200 else (evil, s) for n, (piece, s) in
              enumerate(small_vocabulary())]  # fmt: skip
    tokenizer.write_bytes(tokenizer_bin(pieces))
    page = run_cells(
        f"model, tokenizer = {str(model)!r}, {str(tokenizer)!r}",
        "from llama_edu.show import ComparisonWidget, GenerationStudio",
        "studio = GenerationStudio(model, tokenizer=tokenizer, n_tokens=12, prompt='<b>the')\n"
        "studio.start().wait(20)\nstudio.look_ahead().wait(20)\nstudio",
        "both = ComparisonWidget(model, tokenizer=tokenizer, n_tokens=8, left={}, "
        "right={'temperature': 1.0})\nboth.start().wait(20)\nboth",
        "print(repr(studio)); print(repr(both)); both",
    )
    panel = panel_of(page)
    wait_until(lambda: "<script>window.stolen" in text_of(panel))
    shoot(page, panel, "studio-hostile")
    page.locator(".llama-edu-comparison").first.wait_for(timeout=20_000)
    time.sleep(0.5)
    assert page.evaluate("() => window.stolen") is None
    assert panel.locator("img, script").count() == 0
    assert page.locator(".llama-edu-comparison img").count() == 0
