"""The course as a page without a kernel: exported as HTML, and with all style dropped."""

from __future__ import annotations

import logging
import re

import pytest
from helpers.notebooks import ROOT, cells_of, each_notebook

nbformat = pytest.importorskip("nbformat")
html_exporter = pytest.importorskip("nbconvert.exporters.html")
loader = pytest.importorskip("traitlets.config.loader")


@pytest.fixture(scope="module")
def config():
    return loader.PyFileConfigLoader("nbconvert_config.py", str(ROOT / "tools")).load_config()


@each_notebook
def test_every_figure_is_exported_with_its_text_and_without_a_warning(path, config, caplog):
    notebook = nbformat.read(path, as_version=4)
    exporter = html_exporter.HTMLExporter(config=config)
    exporter.log = logging.getLogger("nbconvert")
    with caplog.at_level(logging.WARNING):
        page, _ = exporter.from_notebook_node(notebook)
    assert not caplog.records, caplog.text
    alts = re.findall(r'<img[^>]* ?alt="([^"]*)"', page)
    figures = [
        output
        for cell in cells_of(path, "code")
        for output in cell["outputs"]
        if "image/png" in output.get("data", {})
    ]
    assert len(alts) == len(figures) == page.count("<img ")
    assert all(len(alt) > 60 for alt in alts), alts


@each_notebook
def test_tables_in_text_keep_letters_of_one_width_on_any_page(path):
    for output in (o for cell in cells_of(path, "code") for o in cell["outputs"]):
        html = "".join(output.get("data", {}).get("text/html", ""))
        for style in re.findall(r"<pre\b([^>]*)>", html):
            assert "font-family" in style, html[:200]
        assert "<script" not in html and "javascript:" not in html


def test_a_figure_without_a_text_would_be_noticed(config, caplog):
    png = {"output_type": "display_data", "data": {"image/png": "AA=="}, "metadata": {}}
    cell = nbformat.v4.new_code_cell("1", outputs=[nbformat.from_dict(png)])
    exporter = html_exporter.HTMLExporter(config=config)
    exporter.log = logging.getLogger("nbconvert")
    with caplog.at_level(logging.WARNING):
        exporter.from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert "Alternative text is missing on 1 image" in caplog.text
