"""A click on a cell, without a front end: the slider of its line moves, and its page is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.records import random_steps

from llama_edu.show.figures.page_layout import laid_out

pytest.importorskip("ipywidgets")
from llama_edu.show import PageMapWidget
from llama_edu.show.panels.page_map.cells import CellPicker


def sliders(picker):
    return picker.children[1:]


def test_every_cell_leads_to_its_own_first_page():
    layout = laid_out(2000, [0, 3, 700, 701], None)
    places = layout.first_pages()
    assert len(places) == len(set(places.values())) == len(layout.cell_starts)
    for place, page in places.items():
        assert layout.place_of(page) == place
    order = np.random.default_rng(1).permutation(2000)
    layout = laid_out(2000, [0, 3, 700, 701], order)
    assert all(layout.place_of(page) == place for place, page in layout.first_pages().items())


def test_a_click_chooses_the_page_under_it_again_and_again():
    chosen = []
    picker = CellPicker(chosen.append)
    layout = laid_out(900, [0, 10, 500])
    picker.lay(layout, 16)
    assert len(sliders(picker)) == layout.rows  # these cells are high enough for one each
    places = layout.first_pages()
    for row, column in ((0, 4), (2, 0), (1, layout.columns - 1), (0, 4), (0, 4)):
        sliders(picker)[row].value = column
        assert chosen[-1] == places[row, column]
        assert sliders(picker)[row].value == -1  # the next click is a change, too
    assert len(chosen) == 5


def test_right_of_the_last_cell_of_a_line_lies_the_last_one():
    chosen = []
    picker = CellPicker(chosen.append)
    picker.lay(laid_out(900, [0, 10, 500]), 16)
    sliders(picker)[0].value = 39
    assert chosen == [9]


def test_low_lines_of_a_large_file_share_a_slider():
    layout = laid_out(700_000, [0, 350_000])
    picker = CellPicker(lambda page: None)
    picker.lay(layout, 16)
    assert layout.cell_px == 3
    assert layout.rows / 3 <= len(sliders(picker)) <= layout.rows / 3 + 3
    n_rows = len(picker.layout.grid_template_rows.split(") "))
    assert n_rows >= len(sliders(picker))


def test_the_map_shows_the_page_that_was_clicked(rng):
    widget = PageMapWidget.of(random_steps(300, 4, rng))
    cells = sliders(widget.view.cells)
    cells[0].value = 7
    assert widget.controls.page_slider.value == 7 and "page 7: bytes" in widget.controls.page.value
    assert widget.view.cells in widget.controls.map_box.children
