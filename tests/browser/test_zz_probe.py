import pytest
from test_notebooks_in_lab import *
pytestmark = pytest.mark.browser
def test_probe(notebook):
    page = notebook("03_generation.ipynb", width=1280, dark=True)
    page.evaluate("""async () => { const nb = window.jupyterapp.shell.currentWidget.content; }""")
    run_all(page)
    panel = panel_of(page)
    for i in range(4):
        print(panel.locator("select").evaluate("s => [s.selectedIndex, s.options.length, s.value, getComputedStyle(s).color, getComputedStyle(s).backgroundColor, getComputedStyle(s).transition]"))
        panel.locator("select").screenshot(path=f"/tmp/nbx/sel{i}.png")
        page.wait_for_timeout(700)
