"""Fixtures of the browser tests: one JupyterLab and one Chromium for all, a fresh page for each.

`make test-browser` runs these tests. Where Chromium is missing they fail and say so.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import hermetic_lab


@pytest.fixture(scope="session")
def chromium():
    with hermetic_lab.chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A JupyterLab over a copy of the notebooks: it saves what it runs."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(hermetic_lab.ROOT / "notebooks", home / "notebooks")
    with hermetic_lab.hermetic_lab(home) as lab:
        yield lab


@pytest.fixture
def notebook(lab, chromium):
    """A function that opens a notebook in a fresh page with an idle kernel."""
    contexts = []

    def open_notebook(name, *, width=1280, height=900, dark=False):
        contexts.append(chromium.new_context(viewport={"width": width, "height": height}))
        return lab.open(contexts[-1], name, dark=dark, files=width >= 1000)

    yield open_notebook
    for context in contexts:
        context.close()
    lab.end_kernels()


@pytest.fixture
def run_cells(lab, notebook):
    """A function that puts code cells into a new notebook, opens it and runs them."""

    def run(*sources, **look):
        lab.put_notebook("made.ipynb", sources)
        page = notebook("made.ipynb", **look)
        hermetic_lab.run_all(page)
        return page

    return run
