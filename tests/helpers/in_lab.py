"""What the browser tests do with a panel: find it, set it, wait for it, look at it."""

from __future__ import annotations

import re
import time
from pathlib import Path

SCREENSHOTS = Path(__file__).resolve().parents[2] / "screenshots"
STATUS = re.compile(r"(\d+) new tokens")


def panel_of(page, name="generation"):
    panel = page.locator(f".llama-edu-{name}").first
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


def handle_of(panel, label):
    """The handle of a slider; it is drawn anew when the slider's range has changed."""
    return panel.locator(".widget-slider", has_text=label).locator(".noUi-handle")


def drag(page, handle, by_px):
    """Take a slider's handle with the mouse and let it go so many pixels to the right."""
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by_px, y, steps=4)
    page.mouse.up()


def button(panel, name):
    return panel.locator("button", has_text=name)


def shoot(page, panel, name, *, expected_alert=None):
    panel.evaluate("node => node.scrollIntoView({block: 'center'})")
    shoot_page(page, name, expected_alert=expected_alert)


def shoot_page(page, name, *, expected_alert=None):
    """Save what the page shows; a page with a box that reports another error fails."""
    SCREENSHOTS.mkdir(exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    assert path.stat().st_size > 20_000, "the screenshot is empty"
    assert_no_error_box(page, expected_alert)


def assert_no_error_box(page, expected_alert=None):
    """No dialog, no widget that failed to draw, no error in a panel's own words."""
    assert page.locator(".jp-Dialog, .jupyter-widgets-error-widget").count() == 0
    alerts = page.locator("[class*=llama-edu] [role=alert]").all_inner_texts()
    unexpected = [alert for alert in alerts if not expected_alert or expected_alert not in alert]
    assert not unexpected, unexpected
    assert "Error displaying widget" not in page.inner_text("body")
