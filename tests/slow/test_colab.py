"""What Colab does: notebook 00 alone in an empty folder, below the line of docs/online.md.

The line is the one of the page, with the address of this clone in the place of the public one.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from helpers.notebooks import FOLDER, ROOT, cells_of, source_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the package as the line installs it, without what it depends on."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git, and this project as a clone")
    page = (ROOT / "docs" / "online.md").read_text("utf-8")
    (line,) = re.findall(r"^%pip install (.*)$", page, re.MULTILINE)
    local, n_addresses = re.subn(r"https://[^\s\"]+", f"file://localhost{quote(str(ROOT))}", line)
    assert n_addresses == 1
    folder = tmp_path_factory.mktemp("installed")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--no-deps",
         "--target", folder, *shlex.split(local)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_notebook_00_runs_without_the_project_around_it(installed, tmp_path):
    shutil.copy(FOLDER / "00_start_here.ipynb", tmp_path)
    code = [source_of(cell) for cell in cells_of(FOLDER / "00_start_here.ipynb", "code")]
    program = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        f"for source in {code!r}:\n"
        "    shell.run_cell(source).raise_error()\n"
        "import llama_edu; print('from', llama_edu.__file__)\n"
    )
    environment = {"PYTHONPATH": str(installed), "IPYTHONDIR": str(tmp_path / "ipython")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=240,
        cwd=tmp_path, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"from {installed}" in done.stdout
