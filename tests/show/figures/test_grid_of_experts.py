"""The page map of a mixture: a line of cells for each expert, whose pages lie in several places."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.records import PAGE, decoded, record_of

from llama_edu.files.layout import TensorSpec
from llama_edu.pages.by_tensor import TensorPages
from llama_edu.pages.touches import Step, Touches
from llama_edu.show.figures.grid import PageGrid, scale_color
from llama_edu.show.text.page_map import text_map


def mixture(n_layers, n_experts, n_bytes, touched=None, header=2 * PAGE + 70):
    """A record of a file as GGUF has it: in each layer all gates, then all ups, then all downs."""
    specs = [TensorSpec("output", "i8", (9 * PAGE,), header, 9 * PAGE)]

    def add(name, n):
        specs.append(TensorSpec(name, "i8", (n,), specs[-1].end, n))

    for i in range(n_layers):
        add(f"layers.{i}.wq", 3 * n_bytes)
        for kind in ("w_gate", "w_up", "w_down"):
            for e in range(n_experts):
                add(f"layers.{i}.experts.{e}.{kind}", n_bytes)
    add("final_norm", 30)
    tensors = {spec.name: spec for spec in specs}
    n_pages = -(-specs[-1].end // PAGE)
    pages = np.zeros(n_pages, bool)
    for name in touched or []:
        spec = tensors[name]
        pages[spec.offset // PAGE : -(-spec.end // PAGE)] = True
    return record_of(pages, tensors=tensors)


def rows_of(grid, record, name):
    """The rows of the cells in which the pages that are a tensor's alone lie."""
    spec = record.tensors[name]
    inside = range(spec.offset // PAGE + 1, spec.end // PAGE)
    return {grid.layout.place_of(page)[0] for page in inside}


def test_an_expert_has_a_line_of_its_own_with_all_its_matrices():
    record = mixture(3, 5, 40_000)
    grid = PageGrid(record)
    assert grid.n_experts == 5
    assert grid.order_words == "layer by layer, each followed by its experts"
    names = [band.name for band in grid.bands]
    assert names[:5] == ["header", "output", "layer 0", "layer 0, expert 0", "layer 0, expert 1"]
    assert names[-2:] == ["layer 2, expert 4", "final_norm"]
    seen = []
    for layer in range(3):
        seen.append(rows_of(grid, record, f"layers.{layer}.wq"))
        for expert in range(5):
            kinds = [rows_of(grid, record, f"layers.{layer}.experts.{expert}.{kind}")
                     for kind in ("w_gate", "w_up", "w_down")]  # fmt: skip
            assert kinds[0] == kinds[1] == kinds[2] and len(kinds[0]) == 1
            seen.append(kinds[0])
    tops = [min(rows) for rows in seen]
    assert tops == sorted(tops) and len(set(tops)) == len(tops)


def test_every_page_has_one_cell_and_its_color(rng):
    record = mixture(2, 4, 30_000)
    grid = PageGrid(record)
    assert grid.pages_per_cell == 1
    assert len({grid.layout.place_of(page) for page in range(record.n_pages)}) == record.n_pages
    for page in rng.integers(0, record.n_pages, 9):
        values = np.full(record.n_pages, -1, np.int32)
        values[page] = 4
        image = decoded(grid.png(values, 5))
        wanted = np.frombuffer(bytes.fromhex(scale_color(4, 5)[1:]), np.uint8)
        found = (image[..., :3] == wanted).all(2) & (image[..., 3] == 255)
        row, column = grid.layout.place_of(int(page))
        left = grid.width - grid.columns * grid.cell_px + column * grid.cell_px
        top = int(grid.layout.tops[row])
        part = found[top : top + grid.cell_px, left : left + grid.cell_px]
        assert part.any() and found.sum() == part.sum()


def test_names_of_layers_come_before_those_of_experts_and_none_collide():
    grid = PageGrid(mixture(6, 8, 52_000))
    labels = grid.labels()
    assert {"output", *(f"layer {i}" for i in range(1, 6))} <= {name for _, name in labels}
    assert "expert 1" in {name for _, name in labels}
    tops = np.array([top for top, _ in labels]) * grid.height
    assert np.diff(tops).min() >= 12 and grid.height <= 620 and grid.width <= 736


def test_of_too_many_experts_each_layer_is_a_band_and_they_follow_each_other():
    record = mixture(30, 8, 52_000)
    grid = PageGrid(record)
    layout = grid.layout
    begins = layout.first_rows
    assert 30 <= len(begins) <= 33 and grid.height <= 620
    first, second = (rows_of(grid, record, f"layers.{i}.experts.3.w_up") for i in (4, 5))
    assert max(first) < min(second)
    values = np.where(mixture(30, 8, 52_000, ["layers.4.experts.3.w_up"]).pages, 0, -1)
    image = decoded(grid.png(values.astype(np.int32), 1))
    colored = (image[..., 3] == 255).sum() / image[..., 3].size
    assert 0 < colored < 0.02  # an expert of 240, and no slab


@pytest.mark.parametrize("n_layers", [2, 30])
def test_the_newest_step_alone_is_shown_in_its_color(n_layers):
    chosen = [["layers.0.experts.1.w_up", "output"], ["layers.0.experts.2.w_up"]]
    touches = Touches([Step("a", mixture(n_layers, 4, 50_000, names)) for names in chosen])
    for n_steps, names in ((1, chosen[0]), (2, chosen[1])):
        values = touches.values("now", n_steps)
        pages = mixture(n_layers, 4, 50_000, names).pages
        assert np.array_equal(values, np.where(pages, n_steps - 1, -1))
    line = touches.newest_line(2)
    n, both = int(touches.steps[1].record.pages.sum()), touches.summary(2).n_touched
    n_new = both - int(touches.steps[0].record.pages.sum())
    assert line.startswith(f"token 1: {n} of") and line.endswith(f"; {n_new} of them are new")


def test_tables_and_text_maps_have_a_row_for_each_expert():
    record = mixture(2, 12, 30_000, ["layers.1.experts.7.w_down"])
    table = TensorPages(record.tensors, record.file_bytes, PAGE, record.pages)
    names = [row.name for row in table.by_band()]
    assert names[:3] == ["output", "layer 0", "layer 0, expert 0"] and len(names) == 2 + 2 * 13
    assert [row.name for row in table.by_layer()] == ["output", "layer 0", "layer 1", "final_norm"]
    kinds = [row.name for row in table.by_kind()]
    assert "layers.*.experts.*.w_up" in kinds and len(kinds) == 6
    whole = {row.name: row.n_bytes for row in table.by_layer()}
    assert sum(r.n_bytes for r in table.by_band() if "layer 1" in r.name) == whole["layer 1"]
    lines = text_map(record, 20).splitlines()
    (line,) = (line for line in lines if line.startswith("layer 1, expert 7"))
    assert "#" in line and "0 of" not in line
    (other,) = (line for line in lines if line.startswith("layer 0, expert 7"))
    assert "0 of" in other
    assert "#" not in next(line for line in lines if line.startswith("layer 1 "))
