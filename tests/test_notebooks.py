"""What the committed notebooks must be like, and that the nbval gate really catches a change.

nbval compares outputs only of cells that were run, and passes a stripped notebook in silence; so
the first tests here look at the files.
"""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(path, kind=None):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if kind in (None, cell["cell_type"])]


def source_of(cell):
    return "".join(cell["source"])


def test_the_five_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == [
        "00_start_here", "01_file_format", "02_mmap_loading", "03_generation",
        "04_page_faults_and_sparsity",
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


@each_notebook
def test_the_folded_answers_run_where_they_stand(path, tmp_path):
    """The cells above an exercise and then its answer, in one IPython without a front-end."""
    pytest.importorskip("IPython")
    cells, n_answers = [], 0
    for cell in cells_of(path):
        source = source_of(cell)
        if cell["cell_type"] == "markdown":
            for answer in re.findall(r"<details>.*?</details>", source, flags=re.S):
                n_answers += 1
                cells += re.findall(r"```python\n(.*?)```", answer, flags=re.S)
        elif "raises-exception" not in cell["metadata"].get("tags", []) and "studio" not in source:
            cells.append(source)
    assert n_answers == 2
    write_notebook(tmp_path / "answers.ipynb", cells)
    done = python("-m", "IPython", "--HistoryManager.enabled=False", tmp_path / "answers.ipynb",
                  IPYTHONDIR=str(tmp_path))  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_an_answer_that_fails_would_be_noticed(tmp_path):
    pytest.importorskip("IPython")
    write_notebook(tmp_path / "answers.ipynb", ["%pwd", "1 / 0", "print('went on')"])
    done = python("-m", "IPython", "--HistoryManager.enabled=False", tmp_path / "answers.ipynb",
                  IPYTHONDIR=str(tmp_path))  # fmt: skip
    assert done.returncode != 0 and "ZeroDivisionError" in done.stdout + done.stderr


def nbval(folder):
    """Compare the stored outputs of a folder's notebooks with a run, as `make test` does."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    return python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "nbval.plugin", "--nbval",
        "--nbval-current-env",
        f"--nbval-sanitize-with={FOLDER / 'sanitize.cfg'}", "--nbval-cell-timeout=120",
        "--rootdir", folder, folder, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
    )  # fmt: skip


def python(*arguments, **environment):
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True, text=True, timeout=240, cwd=FOLDER,
        env=os.environ | environment | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip


def output(text):
    return {"output_type": "stream", "name": "stdout", "text": text}


def write_notebook(path, sources, stored=None):
    """A notebook of code cells, with one printed output each where `stored` has them."""
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "execution_count": n + 1,
         "source": source, "outputs": [output(stored[n])] if stored else []}
        for n, source in enumerate(sources)
    ]  # fmt: skip
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": spec},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(notebook))


def test_the_gate_passes_another_time_and_catches_another_number(tmp_path):
    pytest.importorskip("nbval")
    sources = ["print(6 * 7)", "import time; print(f'{time.perf_counter():.3f} s')"]
    write_notebook(tmp_path / "right.ipynb", sources, ["42\n", "0.001 s\n"])
    write_notebook(tmp_path / "wrong.ipynb", sources, ["43\n", "0.001 s\n"])
    done = nbval(tmp_path)
    assert done.returncode == 1
    assert "1 failed, 3 passed" in done.stdout, done.stdout
    assert re.search(r"^FAILED .*wrong\.ipynb::Cell 0", done.stdout, flags=re.M)


def test_the_gate_catches_a_changed_token_of_a_real_notebook(tmp_path):
    pytest.importorskip("nbval")
    notebook = json.loads((FOLDER / "03_generation.ipynb").read_text(encoding="utf-8"))
    cell = next(n for n, cell in enumerate(notebook["cells"]) if cell.get("id") == "encode")
    del notebook["cells"][cell + 1 :]
    stored = notebook["cells"][cell]["outputs"][0]["data"]["text/plain"]
    assert stored[0].startswith("[1, ")
    stored[0] = stored[0].replace("[1, ", "[2, ", 1)
    (tmp_path / "changed.ipynb").write_text(json.dumps(notebook))
    done = nbval(tmp_path)
    assert done.returncode == 1 and "1 failed, 2 passed" in done.stdout, done.stdout
