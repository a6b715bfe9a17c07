"""Pages as cells: each in its place and its color, with the names of layers beside them."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from helpers.records import PAGE, decoded, record_of

from llama_edu.files.layout import TensorSpec
from llama_edu.show.figures.grid import PageGrid, ink_on, legend_values, scale_color, tensors_at


@pytest.mark.parametrize("n_pages", [1, 27, 3000, 100_000, 1_200_000])
def test_each_page_has_its_cell_in_file_order(n_pages, rng):
    record = record_of(np.zeros(n_pages, bool))
    grid = PageGrid(record)
    assert grid.columns * grid.rows * grid.pages_per_cell >= n_pages
    touched = int(rng.integers(n_pages))
    values = np.full(n_pages, -1, np.int32)
    values[touched] = 4
    image = decoded(grid.png(values, 5))
    assert image.shape == (grid.height, grid.width, 4)
    # the lower right pixel of a cell has its full color, whatever the gaps at its edges
    cells = image[grid.cell_px - 1 :: grid.cell_px, -grid.columns * grid.cell_px :]
    cells = cells[:, grid.cell_px - 1 :: grid.cell_px].reshape(-1, 4)
    wanted = np.frombuffer(bytes.fromhex(scale_color(4, 5)[1:]), np.uint8)
    found = np.flatnonzero((cells[:, :3] == wanted).all(1) & (cells[:, 3] == 255))
    assert found.tolist() == [touched // grid.pages_per_cell]


def test_the_picked_page_gets_a_frame_and_keeps_its_color():
    grid = PageGrid(record_of(np.zeros(300, bool)))
    values = np.full(300, -1, np.int32)
    plain, framed = (decoded(grid.png(values, 3, picked)) for picked in (None, 37))
    rows, columns = np.nonzero((plain != framed).any(2))
    row, column = divmod(37, grid.columns)
    left = grid.width - grid.columns * grid.cell_px + column * grid.cell_px
    assert abs(rows.mean() - (row + 0.5) * grid.cell_px) < grid.cell_px
    assert abs(columns.mean() - (left + 0.5 * grid.cell_px)) < grid.cell_px


def test_bands_are_named_by_layer_and_labels_never_lie_on_each_other():
    specs = [TensorSpec("token_embedding", "f32", (10, 1024), 0, 10 * PAGE)]
    for i in range(300):
        for kind in ("wq", "wk"):
            name = f"layers.{i}.{kind}"
            specs.append(TensorSpec(name, "f32", (10, 1024), specs[-1].end, 10 * PAGE))
    tensors = {spec.name: spec for spec in specs}
    grid = PageGrid(record_of(np.zeros(specs[-1].end // PAGE, bool), tensors=tensors))
    names = [band.name for band in grid.bands]
    assert names == ["token_embedding", *(f"layer {i}" for i in range(300))]
    tops = [top * grid.height for top, _ in grid.labels()]
    assert len(tops) > 3 and min(np.diff(tops)) >= 12


def layered(n_layers, n_bytes, header=3 * PAGE + 70, table=40 * PAGE):
    """A record of a header, a table, layers of two tensors whose edges lie inside pages."""
    specs = [TensorSpec("token_embedding", "f32", (table // 4,), header, table)]
    for i in range(n_layers):
        for kind, share in (("wq", 3), ("w_up", 5)):
            name = f"layers.{i}.{kind}"
            n = n_bytes * share // 32 * 4
            specs.append(TensorSpec(name, "f32", (n // 4,), specs[-1].end, n))
    tensors = {spec.name: spec for spec in specs}
    return record_of(np.ones(-(-specs[-1].end // PAGE), bool), tensors=tensors)


def own_rows(record, grid, layer):
    """The rows of the picture in which cells of a layer's own pages lie."""
    spans = [spec for spec in record.tensors.values() if spec.name.startswith(f"layers.{layer}.")]
    pages = range(spans[0].offset // PAGE + 1, spans[-1].end // PAGE)
    return {grid.layout.place_of(page)[0] for page in pages}


@pytest.mark.parametrize(
    ("n_layers", "n_bytes"), [(6, 1_700_000), (30, 2_217_000), (48, 9_000_000)]
)
def test_each_layer_is_a_band_with_its_name_and_a_gap_above_it(n_layers, n_bytes):
    record = layered(n_layers, n_bytes)
    grid = PageGrid(record)
    rows = [own_rows(record, grid, layer) for layer in range(n_layers)]
    for above, below in pairwise(rows):
        assert max(above) < min(below)
    assert grid.height <= 620 and grid.width <= 736
    labels = {name: top for top, name in grid.labels()}
    for layer, own in enumerate(rows):
        if f"layer {layer}" in labels:
            top = round(labels[f"layer {layer}"] * grid.height)
            assert top == grid.layout.tops[min(own)]
    image = decoded(grid.png(np.zeros(record.n_pages, np.int32), 3))
    empty = np.flatnonzero(image[..., 3].max(1) == 0)
    assert len(empty) >= n_layers  # the gaps go through the strip at the left as well


def test_thirty_layers_of_many_pages_all_have_names_and_cells_that_can_be_seen():
    grid = PageGrid(layered(30, 2_217_000, header=435 * PAGE, table=7344 * PAGE))
    names = [name for _, name in grid.labels()]
    assert names[:3] == ["header", "token_embedding", "layer 0"]
    assert len(names) == 32 and grid.cell_px >= 5
    assert max(top for top, _ in grid.labels()) * grid.height + 12 <= grid.height
    assert grid.cell_words == "2 neighboring pages, 8,192 bytes"


def test_of_few_bands_the_small_ones_get_space_for_their_names():
    specs = [TensorSpec("token_embedding", "f32", (90, 1024), 3 * PAGE, 90 * PAGE)]
    for name, n in (("final_norm", 1), ("output", 90), ("layers.0.wq", 900)):
        specs.append(TensorSpec(name, "f32", (n, 1024), specs[-1].end, n * PAGE))
    grid = PageGrid(record_of(np.ones(1084, bool), tensors={spec.name: spec for spec in specs}))
    expected = ["header", "token_embedding", "final_norm", "output", "layer 0"]
    assert [name for _, name in grid.labels(18)] == expected


def test_where_labels_collide_a_weight_is_named_and_not_the_header():
    grid = PageGrid(layered(30, 2_217_000, header=3 * PAGE, table=7344 * PAGE))
    assert [name for _, name in grid.labels()][:2] == ["token_embedding", "layer 0"]


def test_a_cell_of_several_pages_shows_the_highest_of_them():
    record = layered(30, 2_217_000, header=435 * PAGE, table=7344 * PAGE)
    grid = PageGrid(record)
    values = np.full(record.n_pages, -1, np.int32)
    values[435], values[436] = 2, 7  # the first cell of the table
    cells = grid.layout.in_cells(values + 1)
    row, column = grid.layout.place_of(436)
    assert (row, column) == grid.layout.place_of(435) and cells[row, column] == 8


def test_a_page_tells_its_rows():
    specs = {
        "a": TensorSpec("a", "f32", (6, 500), 100, 12000),
        "b": TensorSpec("b", "f32", (40,), 12100, 160),
    }
    record = record_of([1, 1, 1], tensors=specs)
    # rows of 2,000 bytes from byte 100 on: page 1 is bytes 4,096 to 8,191
    assert tensors_at(record, 1) == ["a, rows 1 to 4 of 6"]
    assert tensors_at(record, 2) == ["a, rows 4 to 5 of 6", "b, bytes 0 to 159 of its 160"]


def test_the_text_of_a_mark_can_be_read_on_its_color():
    assert ink_on(scale_color(0, 9)) == "#fff" and ink_on(scale_color(8, 9)) == "#000"


def test_a_legend_names_the_first_and_the_last_value_and_few_between():
    assert legend_values(1) == [0] and legend_values(3) == [0, 1, 2]
    assert legend_values(24) == [0, 5, 9, 14, 18, 23]


def test_beside_a_map_that_a_narrow_page_shrinks_names_keep_their_distance():
    pytest.importorskip("ipywidgets")
    from llama_edu.show.panels.page_map.html import labels_html

    grid = PageGrid(layered(30, 2_217_000, header=435 * PAGE, table=7344 * PAGE))
    tops = np.array([float(top) for top in re.findall(r"top: ([\d.]+)%", labels_html(grid))])
    assert len(tops) > 12 and np.diff(tops).min() / 100 * grid.height * 2 / 3 >= 12 - 0.1
