"""Pages as cells: each in its place and its color, with the names of layers beside them."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.records import PAGE, decoded, record_of

from llama_edu.files.layout import TensorSpec
from llama_edu.show.figures.grid import PageGrid, legend_values, scale_color, tensors_at


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
    assert len(tops) > 3 and min(np.diff(tops)) >= 13


def test_a_page_tells_its_rows():
    specs = {
        "a": TensorSpec("a", "f32", (6, 500), 100, 12000),
        "b": TensorSpec("b", "f32", (40,), 12100, 160),
    }
    record = record_of([1, 1, 1], tensors=specs)
    # rows of 2,000 bytes from byte 100 on: page 1 is bytes 4,096 to 8,191
    assert tensors_at(record, 1) == ["a, rows 1 to 4 of 6"]
    assert tensors_at(record, 2) == ["a, rows 4 to 5 of 6", "b, bytes 0 to 159 of its 160"]


def test_a_legend_names_the_first_and_the_last_value_and_few_between():
    assert legend_values(1) == [0] and legend_values(3) == [0, 1, 2]
    assert legend_values(24) == [0, 5, 9, 14, 18, 23]
