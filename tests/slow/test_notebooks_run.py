"""Folded answers run, notebooks run on any model, and the gate of make test-notebooks works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from helpers.course_model_file import write_course_model
from helpers.notebooks import FOLDER, NOTEBOOKS, ROOT, cells_of, each_notebook, source_of

pytestmark = pytest.mark.slow


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
        capture_output=True, text=True, timeout=500, cwd=FOLDER,
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


def run_cells(folder, cells, said=""):
    """Run cells in one IPython without a front-end, from the notebooks' folder; its output."""
    write_notebook(folder / "cells.ipynb", cells)
    done = python("-m", "IPython", "--HistoryManager.enabled=False", folder / "cells.ipynb",
                  IPYTHONDIR=str(folder))  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert said in done.stdout
    return done.stdout


def runnable(path):
    """The code cells of a notebook that do not fail on purpose."""
    return [
        source_of(cell)
        for cell in cells_of(path, "code")
        if "raises-exception" not in cell["metadata"].get("tags", [])
    ]


def answers_of(path):
    """The code of each folded answer, one list for each."""
    text = "\n".join(source_of(cell) for cell in cells_of(path, "markdown"))
    return [
        re.findall(r"```python\n(.*?)```", answer, flags=re.S)
        for answer in re.findall(r"<details>.*?</details>", text, flags=re.S)
    ]


@pytest.mark.timeout(600)
@each_notebook
def test_the_folded_answers_run_where_readers_open_them(path, tmp_path):
    """After Run All: what the last cells delete or close must not be what an answer needs."""
    answers = answers_of(path)
    assert len(answers) == 2
    cells = runnable(path) + [cell for answer in answers for cell in answer]
    run_cells(tmp_path, [*cells, "print('answered')"], "answered")


#: The notebooks that have a cell MODEL = "stories".
ANY_MODEL = [path for path in NOTEBOOKS if path.stem[:2] in ("02", "03", "04", "05", "06")]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", ANY_MODEL, ids=lambda path: path.stem)
def test_a_notebook_runs_on_a_model_with_grouped_heads_and_byte_level_pieces(path, tmp_path, rng):
    pytest.importorskip("gguf")
    pytest.importorskip("tokenizers")
    model = write_course_model(tmp_path / "grouped.gguf", rng)
    cells = runnable(path)
    chosen = [
        re.sub(r'^MODEL = "stories".*', f"MODEL = {str(model)!r}", c, flags=re.M) for c in cells
    ]
    assert sum(new != old for new, old in zip(chosen, cells, strict=True)) == 1, "no MODEL cell"
    run_cells(tmp_path, [*chosen, "print('ran to its end')"], "ran to its end")


def test_the_last_notebook_runs_on_the_model_that_knows_no_conversation(tmp_path):
    pytest.importorskip("IPython")
    path = FOLDER / "07_a_real_model.ipynb"
    sources = [source_of(cell) for cell in cells_of(path, "code")]
    chosen = [source.replace('MODEL = "smollm2"', 'MODEL = "stories"') for source in sources]
    assert chosen != sources
    said = "print('said:', template, len(conversation.messages), second.n_reused > 0)"
    run_cells(tmp_path, [*chosen, said], "said: plain 6 True")


def test_an_answer_that_fails_would_be_noticed(tmp_path):
    pytest.importorskip("IPython")
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run_cells(tmp_path, ["%pwd", "1 / 0", "print('went on')"])


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
    assert done.returncode == 1, done.stdout
    assert re.search(r"^1 failed, [1-9]\d* passed", done.stdout, flags=re.M), done.stdout
