"""docs/workers.md with its engines: the same bits, a worker that dies, the lesson of %%px.

Programs of the page run as they stand, each in a process of its own. Engines that are not installed
are skipped by name: pip install 'llama-edu[engines]'.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.two_files import TEXT, write_two_files

from llama_edu.quality import judge

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="kills, /proc")]

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "workers.md").read_text("utf-8")
PROGRAMS = {
    name.split(".")[0]: block
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for name in [block.split("\n")[0].removeprefix("# ")]
}
ENGINES = ("concurrent", "ipyparallel", "dask", "joblib", "mpi4py")

#: In the place of judge: seven pieces, of which number 3 ends the process that computes it.
KILLED = """
from functools import partial
from operator import itemgetter
from helpers.work import killed_at
from llama_edu.workers.pieces import EngineError, collected

def judge(*files, text, map):
    try:
        found = collected(partial(killed_at, 3, itemgetter(0)), [(n,) for n in range(7)], map)
        return found.results, str(found.error)
    except EngineError as error:
        return [], str(error)
"""

#: In the place of judge: do workers keep freed memory, or wait for new pages each time?
FAULTS = """
from helpers.work import faults_of_arrays

def judge(*files, text, map):
    return list(map(faults_of_arrays, range(4)))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """a.gguf and b.gguf, whose weights differ a little."""
    return write_two_files(tmp_path_factory.mktemp("engines"), np.random.default_rng(5))


def needs(engine):
    """Skip, by name, where an engine is missing."""
    for module in {"dask": ("dask", "distributed")}.get(engine, (engine,)):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install 'llama-edu[engines]'")
    if engine == "mpi4py" and shutil.which("mpiexec") is None:
        pytest.skip("there is no mpiexec: mpi4py needs an MPI")


def run(folder, engine, program):
    """Run a program in the folder; gives what it calls `found`."""
    home = folder / f"home of {engine}"  # an engine may leave files there
    home.mkdir(exist_ok=True)
    (folder / "found").unlink(missing_ok=True)
    (folder / f"by_{engine}.py").write_text(
        f"text = {TEXT!r}\n{program}\nif __name__ == '__main__':\n    import pathlib, pickle\n"
        f"    pathlib.Path('found').write_bytes(pickle.dumps(found))\n"
    )
    start = {"mpi4py": ["mpiexec", "-n", "3", sys.executable, "-m", "mpi4py.futures"]}
    done = subprocess.run(
        [*start.get(engine, [sys.executable]), f"by_{engine}.py"], cwd=folder, timeout=240,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "HOME": str(home)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return pickle.loads((folder / "found").read_bytes())


def test_the_page_has_a_program_for_each_engine():
    assert tuple(PROGRAMS) == ENGINES


@pytest.mark.parametrize("engine", ENGINES)
def test_each_engine_gives_the_bits_of_one_process(folder, engine):
    if engine != "concurrent":
        needs(engine)
    alone = judge(folder / "a.gguf", folder / "b.gguf", text=TEXT)
    assert run(folder, engine, PROGRAMS[engine]) == alone


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("concurrent", r"BrokenProcessPool.*memory is short"),
        ("ipyparallel", r"Engine b'.*' died while running task"),
        ("dask", r"KilledWorker.*workers died while"),
        ("joblib", r"TerminatedWorkerError"),
    ],
)
def test_a_worker_that_is_killed_is_said_and_what_was_handed_back_is_kept(folder, engine, said):
    if engine != "concurrent":
        needs(engine)
    program = PROGRAMS[engine]
    line = "from llama_edu.quality import judge\n"
    assert line in program
    kept, error = run(folder, engine, program.replace(line, KILLED))
    assert kept == [0, 1, 2][: len(kept)]
    assert re.search(said, error), error
    assert f"after {len(kept)} of 7 pieces, which are kept" in error


@pytest.mark.parametrize("engine", ENGINES)
def test_no_engine_takes_freed_memory_away_between_two_steps(folder, engine):
    if engine != "concurrent":
        needs(engine)
    line = "from llama_edu.quality import judge\n"
    faults = run(folder, engine, PROGRAMS[engine].replace(line, FAULTS))
    assert len(faults) == 4 and max(faults) < 2000, "20 arrays have 20,480 pages"


def test_the_lesson_of_engines_in_a_notebook(folder):
    """Cells of the page, one after another, as IPython runs them."""
    needs("ipyparallel")
    cells = re.findall(r"^```ipython\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(cells) == 5
    program = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "if __name__ == '__main__':\n"
        "    shell = InteractiveShell.instance()\n"
        f"    for cell in {cells!r}:\n"
        "        shell.run_cell(cell).raise_error()\n"
        "    found = [shell.user_ns[name] for name in ('mapped', 'read')]\n"
    )
    mapped, read = run(folder, "ipyparallel", program)
    assert len(mapped) == len(read) == 2
    for (rss, pss), (_, more) in zip(mapped, read, strict=True):
        assert 0 < pss < rss and more > 0
