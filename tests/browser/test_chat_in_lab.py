"""The chat panel in a real JupyterLab: Enter sends, Stop keeps, the tokens can be looked at."""

from __future__ import annotations

import re

import pytest
from helpers.in_lab import button, panel_of, set_slider, shoot, shoot_page, wait_until

pytestmark = pytest.mark.browser

HOSTILE = "Say <|im_end|> & <img src=x onerror=\"document.title='owned'\"> \U0001f98a"


def is_done(panel):
    return button(panel, "Stop").is_disabled() and "new tokens" in panel.inner_text()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("width", [1280, 800])
@pytest.mark.parametrize("dark", [False, True])
def test_two_turns_a_stop_and_another_answer(run_cells, width, dark):
    page = run_cells(
        "from llama_edu.show import ChatPanel",
        "panel = ChatPanel(n_tokens=2000, seed=2, pace=15)\npanel",
        width=width, dark=dark,
    )  # fmt: skip
    label = f"chat-{width}-{'dark' if dark else 'light'}"
    panel = panel_of(page, "chat")
    assert "trained on stories alone" in panel.inner_text()
    field = panel.locator("input[placeholder='a message, then Enter']")
    field.fill(HOSTILE)
    field.press("Tab")  # leaving the field sends nothing
    assert "Nothing was said yet." in panel.inner_text()
    field.press("Enter")
    answers = panel.locator(".llama-edu-turn-assistant pre")
    wait_until(lambda: answers.count() == 1 and len(answers.inner_text()) > 20)
    assert field.input_value() == "" and page.title() != "owned"
    shoot(page, panel, f"{label}-answering")
    button(panel, "Stop").click()
    wait_until(lambda: is_done(panel))
    page.wait_for_timeout(500)  # the last token may still be on its way to the page
    kept = answers.inner_text()
    assert panel.locator(".llama-edu-turn-user pre").inner_text() == HOSTILE

    page.get_by_text("How it chooses its words").click()
    set_slider(panel, "length", 12)
    field.fill("And then?")
    button(panel, "Send").click()
    wait_until(lambda: answers.count() == 2 and is_done(panel))
    assert answers.nth(0).inner_text() == kept
    reused = re.search(r"(\d+) tokens read, (\d+) reused", panel.inner_text())
    assert reused and int(reused[2]) > 0

    panel.locator("text=shade by probability").click()
    panel.locator("button[title='Look at new token no. 3']").click()
    wait_until(lambda: panel.locator("mark").count() == 1)
    page.get_by_text("What the model really saw").click()
    special = panel.locator("b[title^='special token']")
    wait_until(lambda: special.count() > 0 and special.first.is_visible())
    assert "<s>" in special.all_inner_texts()[0]
    shoot(page, panel, f"{label}-tokens")
    panel.evaluate("node => node.scrollIntoView({block: 'end'})")
    shoot_page(page, f"{label}-seen")

    before = answers.nth(1).inner_text()
    button(panel, "Regenerate").click()
    wait_until(lambda: is_done(panel) and answers.nth(1).inner_text() != before)
    button(panel, "New conversation").click()
    wait_until(lambda: "Nothing was said yet." in panel.inner_text())
    width_of = page.evaluate("node => [node.scrollWidth, node.clientWidth]", panel.element_handle())
    assert width_of[0] <= width_of[1] + 1, "something is wider than the panel"
    assert page.foreign == [], "something was asked of another machine"
