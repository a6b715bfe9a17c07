"""What the committed notebooks must be like.

nbval compares outputs only of cells that were run, and passes a stripped notebook in silence; so
these tests look at the files. make test-notebooks runs each once; what runs them a second time is
in slow/test_notebooks_run.py.
"""

from __future__ import annotations

import base64
import json
import re
import struct

from helpers.notebooks import FOLDER, NOTEBOOKS, cells_of, each_notebook, source_of


def test_the_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == [
        "00_start_here", "01_file_format", "02_mmap_loading", "03_generation",
        "04_page_faults_and_sparsity", "05_was_it_a_bug", "06_could_models_be_slimmer",
        "07_a_real_model",
    ]  # fmt: skip


@each_notebook
def test_every_cell_was_run_once_from_top_to_bottom(path):
    counts = [cell["execution_count"] for cell in cells_of(path, "code")]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_there_is_something_to_compare(path):
    assert sum(bool(cell["outputs"]) for cell in cells_of(path, "code")) >= 3


@each_notebook
def test_only_announced_cells_fail_and_nothing_is_said_on_stderr(path):
    for cell in cells_of(path, "code"):
        kinds = [output["output_type"] for output in cell["outputs"]]
        announced = "raises-exception" in cell["metadata"].get("tags", [])
        assert ("error" in kinds) == announced, source_of(cell)
        assert all(output.get("name") != "stderr" for output in cell["outputs"]), source_of(cell)


@each_notebook
def test_no_output_names_a_place_or_an_address_of_one_machine(path):
    for cell in cells_of(path, "code"):
        text = json.dumps(cell["outputs"])
        text = re.sub(r'"image/png": "[^"]*"', "", text)
        found = re.search(
            r"/(home|root|tmp|Users|usr|work|opt|mnt)/|[A-Z]:\\\\|0x[0-9a-f]{8,}", text
        )
        assert found is None, (source_of(cell), found)


@each_notebook
def test_the_file_carries_nothing_of_one_session(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert set(notebook["metadata"]["language_info"]) == {"name"}
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
    assert "widget-view" not in path.read_text(encoding="utf-8")
    assert path.stat().st_size < 1_000_000
    assert re.fullmatch(r"\d\d_[a-z_]+", path.stem)


@each_notebook
def test_the_headings_are_one_title_then_sections(path):
    cells = cells_of(path)
    assert cells[0]["cell_type"] == "markdown" and source_of(cells[0]).startswith("# ")
    assert "?" in source_of(cells[0]).splitlines()[0], "a notebook begins with its question"
    levels = [
        len(mark)
        for cell in cells_of(path, "markdown")
        for mark in re.findall(r"^(#+) ", source_of(cell), flags=re.M)
    ]
    assert levels.count(1) == 1 and set(levels[1:]) == {2}


@each_notebook
def test_cells_are_small(path):
    lengths = sorted(
        sum(bool(line.strip()) for line in source_of(cell).splitlines())
        for cell in cells_of(path, "code")
    )
    assert lengths[len(lengths) // 2] <= 3 and lengths[-1] <= 12


@each_notebook
def test_a_notebook_asks_for_a_guess_shows_the_truth_and_ends_with_a_sentence(path):
    code = [source_of(cell) for cell in cells_of(path, "code")]
    text = "\n".join(source_of(cell) for cell in cells_of(path, "markdown"))
    asked = re.findall(r"^(\w+) = guess\(", "\n".join(code), flags=re.M)
    assert asked, "no prediction"
    for name in asked:
        assert any(source.startswith(f"{name}.beside(") or f"\n{name}.beside(" in source
                   for source in code), f"{name} is never compared"  # fmt: skip
    assert "**Predict.**" in text and "The words" in text
    assert re.search(r"take away", text, flags=re.I)
    assert text.count("<details>") == 2
    later = [other.name for other in NOTEBOOKS if other.name > path.name]
    assert not later or later[0] in text, "no link to the next notebook"


@each_notebook
def test_every_figure_has_a_size_a_text_and_a_caption_below(path):
    cells = cells_of(path)
    n_figures = 0
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        for data in (
            o["data"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})
        ):
            n_figures += 1
            header = base64.b64decode(data["image/png"])[:24]
            width, height = struct.unpack(">II", header[16:24])
            assert header.startswith(b"\x89PNG") and 500 <= width <= 1000 and 200 <= height <= 900
            assert len("".join(data["text/plain"])) > 60, "no words for who cannot see it"
            assert following and following["cell_type"] == "markdown"
            is_caption = source_of(following).startswith("*")
            assert is_caption or "map" in source_of(following), source_of(following)[:80]
    assert n_figures >= 1


@each_notebook
def test_links_lead_somewhere(path):
    text = "".join(source_of(cell) for cell in cells_of(path, "markdown"))
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (FOLDER / target).exists(), target
